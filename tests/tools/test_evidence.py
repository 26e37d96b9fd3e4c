"""tools/evidence.py: which runs are made, what may be compared, tables and pictures; a real run of tiny models."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lrps.base.errors import ConfigError
from support.values import tiny_values

TOOLS = Path(__file__).parents[2] / "tools"
PEAK = 1e-2
"""Peak rate of the tiny config."""


@pytest.fixture(scope="module")
def tool() -> Iterator[Any]:
    """The tool's modules, imported as it imports them."""
    sys.path.insert(0, str(TOOLS))
    try:
        import evidence
        import evidence_page
        import evidence_results
        import evidence_runs

        modules = {"main": evidence, "page": evidence_page, "results": evidence_results, "runs": evidence_runs}
        yield type("Tools", (), modules)
    finally:
        sys.path.remove(str(TOOLS))


def cell_result(tool: Any, losses: Mapping[str, tuple[float, float]], **changes: Any) -> Any:
    """Return a cell whose paradigms have these losses of v2 on the held-out sets of v1 and v2."""
    found = {
        (paradigm, "v2"): tool.results.Loss(statistics.fmean(both), dict(zip(("v1", "v2"), both, strict=True)))
        for paradigm, both in losses.items()
    }
    values = {
        "corpus": {"v1": "a", "v2": "b"},
        "heldout": {"v1": ("c", 10), "v2": ("d", 10)},
        "torch": frozenset({"2.13.0"}),
        "processors": frozenset({"cpu, AVX2, 1 threads"}),
    }
    return tool.results.CellResult(losses=found, **{**values, **changes})


def page(tool: Any, cells: Mapping[Any, Any], reference: str = "control") -> Any:
    paradigms = list(dict.fromkeys(paradigm for cell in cells.values() for paradigm, _ in cell.losses))
    costs = {(name, "v2"): tool.results.Cost(0.1 * k + 0.4, 100 * k) for k, name in enumerate(paradigms)}
    kinds = {name: "ptfs" if name == "control" else "path-switching" for name in paradigms}
    return tool.page.Page(tool.results.Results(cells, costs, kinds), "v2", reference, 0.01)


def lines_of(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line]


def test_differences_are_taken_seed_by_seed(tool: Any) -> None:
    cells = {
        tool.runs.Cell(1, PEAK): cell_result(tool, {"control": (1.0, 2.0), "other": (1.2, 1.9)}),
        tool.runs.Cell(2, PEAK): cell_result(tool, {"control": (3.0, 4.0), "other": (3.4, 3.9)}),
    }
    control, other = page(tool, cells).rows
    assert control.mean == 2.5
    assert other.paired.values == pytest.approx((0.05, 0.15))
    assert {name: paired.values for name, paired in other.by_set.items()} == {
        "v1": pytest.approx((0.2, 0.4)),
        "v2": pytest.approx((-0.1, -0.1)),
    }


def test_the_tables(tool: Any) -> None:
    cells = {
        tool.runs.Cell(1, PEAK): cell_result(tool, {"control": (1.5, 1.5), "other": (1.54, 1.5)}),
        tool.runs.Cell(2, PEAK): cell_result(tool, {"control": (1.5, 1.5), "other": (1.52, 1.5)}),
        tool.runs.Cell(1, PEAK, 7): cell_result(tool, {"other": (1.7, 1.7)}),
        tool.runs.Cell(1, PEAK, 8): cell_result(tool, {"control": (1.7, 1.7)}),
        tool.runs.Cell(1, PEAK, 9): cell_result(tool, {"control": (1.6, 1.6), "other": (1.6, 1.6)}),
    }
    head, _, control, other, by_set, _, on_sets, noise, _, of_control, of_other = lines_of(page(tool, cells).markdown())
    assert head[:5] == ["paradigm", "steps, of PTFS", "steps added", "loss", "minus control"]
    assert control == ["control", "40%", "0", "1.5000 ± 0.0000", "reference", "", "", "", "", "0.01", "2 of 2"]
    interval = "-0.0485 .. +0.0785"  # 0.015 ± 12.706 x 0.00707 / sqrt(2)
    claim = "not shown, needs about 4 seeds"
    assert other[3:9] == ["1.5150 ± 0.0071", "+0.0150 (+1.00%)", "0.0071", interval, "2 of 2", claim]
    assert (by_set[1:], on_sets) == (["on v1", "on v2"], ["other", "+0.0300 ± 0.1271", "+0.0000 ± 0.0000"])
    assert noise[0] == "one seed, other orders of the data"
    assert (of_control, of_other) == (["control", "3", "0.1000", "0.0000"], ["other", "3", "0.0902", "0.0141"])


def test_what_is_not_measured_is_shown_as_missing(tool: Any) -> None:
    cells = {
        tool.runs.Cell(1, PEAK): cell_result(tool, {"control": (1.0, 1.0), "other": (1.1, 1.1)}),
        tool.runs.Cell(2, PEAK): cell_result(tool, {"other": (1.2, 1.2)}),
        tool.runs.Cell(3, PEAK): cell_result(tool, {}),
    }
    control, other = page(tool, cells).rows
    assert (len(control.losses), len(other.losses), len(other.paired.values)) == (1, 2, 1)
    text = page(tool, cells).markdown()
    assert ("1 of 3" in text, "2 of 3" in text) == (True, True)
    nothing = page(tool, {tool.runs.Cell(1, PEAK): cell_result(tool, {"other": (1.0, 1.0)})}, "other")
    assert nothing.pictures() == {}, "there is nothing beside the reference"


def test_a_missing_reference_leaves_differences_missing(tool: Any) -> None:
    results = page(tool, {tool.runs.Cell(1, PEAK): cell_result(tool, {"other": (1.0, 1.0)})}).markdown()
    assert lines_of(results)[2][3:9] == ["1.0000", *["missing"] * 5]


def test_every_paradigm_is_taken_at_its_best_peak_that_all_seeds_have(tool: Any) -> None:
    low, high = PEAK, 2 * PEAK
    cells = {
        tool.runs.Cell(1, low): cell_result(tool, {"control": (1.0, 1.0), "other": (2.0, 2.0), "third": (3.0, 3.0)}),
        tool.runs.Cell(1, high): cell_result(tool, {"control": (1.5, 1.5), "other": (1.8, 1.8), "third": (1.0, 1.0)}),
        tool.runs.Cell(2, low): cell_result(tool, {"control": (1.0, 1.0), "other": (2.0, 2.0), "third": (3.0, 3.0)}),
        tool.runs.Cell(2, high): cell_result(tool, {"control": (1.5, 1.5), "other": (1.8, 1.8)}),
    }
    rows = {row.paradigm: row for row in page(tool, cells).rows}
    assert {name: row.peak_lr for name, row in rows.items()} == {"control": low, "other": high, "third": low}
    assert rows["other"].paired.values == pytest.approx((0.8, 0.8))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"corpus": {"v1": "a", "v2": "x"}}, "the training data of v2"),
        ({"heldout": {"v1": ("c", 10), "v2": ("x", 10)}}, "the held-out set of v2"),
        ({"heldout": {"v1": ("c", 9)}}, "the held-out set of v1"),
        ({"torch": frozenset({"2.12.0"})}, "the version of torch"),
        ({"torch": frozenset({"2.12.0", "2.13.0"})}, "the version of torch"),
    ],
)
def test_cells_that_must_not_be_mixed_are_refused(tool: Any, changes: dict[str, Any], words: str) -> None:
    one, other = cell_result(tool, {}), cell_result(tool, {}, **changes)
    tool.results.check_comparable({"run-1": one, "run-2": one})
    with pytest.raises(ConfigError, match=f"run-2 and run-1 differ in {words}"):
        tool.results.check_comparable({"run-1": one, "run-2": other})


def test_attempts_with_two_versions_of_torch_are_refused(tool: Any) -> None:
    both = frozenset({"2.12.0", "2.13.0"})
    with pytest.raises(ConfigError, match="the version of torch between attempts"):
        tool.results.check_comparable({"run": cell_result(tool, {}, torch=both)})


def test_a_cell_without_a_measurement_is_compared_by_its_data_alone(tool: Any) -> None:
    unmeasured = cell_result(tool, {}, heldout={}, torch=frozenset())
    tool.results.check_comparable({"run-1": unmeasured, "run-2": cell_result(tool, {})})


@given(st.lists(st.tuples(*[st.floats(0.5, 9)] * 4), min_size=1, max_size=4))
def test_pictures_have_a_mark_for_every_difference_and_all_of_them_inside(
    tool: Any, losses: list[tuple[float, ...]]
) -> None:
    cells = {
        tool.runs.Cell(seed, PEAK): cell_result(tool, {"control": (1.0, 1.0), "a": (a, b), "b": (c, d)})
        for seed, (a, b, c, d) in enumerate(losses)
    }
    pictures = page(tool, cells).pictures()
    assert set(pictures) == {"differences", "cost"}
    for name, drawn in pictures.items():
        root = ElementTree.fromstring(drawn.inline())
        marks = [mark for mark in root.iter() if "mark" in mark.get("class", "").split()]
        assert len(marks) == (2 if name == "differences" else 3), "costs are drawn beside that of the reference"
        width, height = map(float, root.get("viewBox", "").split()[2:])
        for x, y in (corner for mark in marks for corner in corners(mark)):
            assert 0 <= x <= width
            assert 0 <= y <= height


def corners(mark: ElementTree.Element) -> list[tuple[float, ...]]:
    """Return the corners of a mark, or the middle of a round one."""
    if (drawn := mark.get("d")) is None:
        return [(float(mark.get("cx", "nan")), float(mark.get("cy", "nan")))]
    return [tuple(map(float, corner.split())) for corner in drawn.strip("MZ").split("L")]


@pytest.mark.parametrize(
    ("text", "found"), [("17", (17,)), ("17-19", (17, 18, 19)), ("5,1-3,2", (5, 1, 2, 3)), ("17-16", ())]
)
def test_lists_of_numbers(tool: Any, text: str, found: tuple[int, ...]) -> None:
    assert tool.main.numbers(text) == found


def test_tables_go_between_the_marks_of_their_experiment(tool: Any) -> None:
    def marked(name: str, text: str) -> str:
        begin, end = (f"<!-- {name}: {word} (made by tools/evidence.py) -->" for word in ("begin", "end"))
        return f"{begin}\n{text}{end}\n"

    page = f"Head.\n\n{marked('one', '')}Middle.\n{marked('two', 'old')}Tail.\n"
    once = tool.main.page_with(page, "two", "| new |\n")
    assert once == f"Head.\n\n{marked('one', '')}Middle.\n{marked('two', chr(10) + '| new |' + 2 * chr(10))}Tail.\n"
    assert tool.main.page_with(once, "two", "| new |\n") == once
    with pytest.raises(ConfigError, match="the page has no place for the tables of three"):
        tool.main.page_with(page, "three", "")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A config of three versions without shards."""
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(tiny_values(tmp_path, versions=3), sort_keys=False))
    return file


def experiment(tool: Any, config: Path, **changes: Any) -> Any:
    values = {"config_file": config, "runs": config.parent / "runs", "paradigms": (), "versions": ()}
    return tool.runs.Experiment(**{**values, **changes})


def test_a_run_is_named_by_what_differs_in_it(tool: Any, config: Path) -> None:
    made = experiment(tool, config)
    cells = tool.runs.cells_of((1, 2), (PEAK, 2e-2), (7,))
    names = ["tiny-s1", "tiny-s1-p0.02", "tiny-s2", "tiny-s2-p0.02", "tiny-s1-o7"]
    assert [made.run_name(cell) for cell in cells] == names
    plan = made.plan(cells[3]).config
    assert (plan.seed, plan.schedule.peak_lr, plan.order_seed, plan.run_dir) == (2, 2e-2, 2, made.runs / names[3])
    assert made.plan(cells[-1]).config.order_seed == 7


def test_versions_in_reverse_order(tool: Any, config: Path) -> None:
    made = experiment(tool, config, is_reversed=True)
    (cell,) = tool.runs.cells_of((1,), (PEAK,))
    given, found = (each.config.data.versions for each in (experiment(tool, config).plan(cell), made.plan(cell)))
    assert found == tuple(reversed(given))
    assert (made.compared, made.run_name(cell)) == (("v1",), "tiny-reversed-s1")


def test_only_what_leads_to_the_compared_versions_is_left_to_train(tool: Any, config: Path) -> None:
    """Versions of 20 steps, branches of 12: main path to step 48, one branch, and 60 steps from scratch."""
    made = experiment(tool, config, paradigms=("path-switching", "straight"))
    left = tool.runs.workload(made, tool.runs.cells_of((1, 2), (PEAK,)))
    assert (len(left.cells), left.steps) == (2, 2 * (48 + 12 + 60))
    assert "240 steps to train in 2 runs; device minutes: unknown" in str(left)
    both = experiment(tool, config, paradigms=("straight",), versions=("v2", "v3"))
    assert tool.runs.workload(both, tool.runs.cells_of((1,), (PEAK,))).steps == 40 + 60


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--reference", "control"], "control is no paradigm of"),
        (["--paradigms", "cpt,ctp", "--reference", "cpt"], "ctp is no paradigm of"),
        (["--versions", "v9", "--reference", "cpt"], "v9 is no version of"),
        (["--seeds", "3-1", "--reference", "cpt"], "names no seed"),
        (["--margin", "1", "--reference", "cpt"], "--margin 1 is no share of the loss"),
    ],
)
def test_unknown_names_are_refused(
    tool: Any, config: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert tool.main.main([str(config), *arguments, "--show"]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.slow
def test_a_real_experiment_is_trained_shown_and_not_repeated(
    tool: Any, tiny_config: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(tiny_config), "--seeds", "3", "--paradigms", "straight", "--reference", "straight"]
    arguments += ["--runs", str(tmp_path), "--set", "launch.processes=1"]
    assert tool.main.main([*arguments, "--plan"]) == 0
    assert "tiny: 40 steps to train in 1 runs" in capfd.readouterr().out
    assert not list(tmp_path.iterdir()), "--plan makes nothing"
    assert tool.main.main(arguments) == 0
    assert "1 of 1" in (tmp_path / "tiny-results" / "evidence.md").read_text()
    capfd.readouterr()
    assert tool.main.main(arguments) == 0
    assert "nothing to train" in capfd.readouterr().out
