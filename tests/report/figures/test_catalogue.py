"""What the figures draw: positions are read back from the drawings and compared with the document."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest

from lrps.costs.comparison import Comparison, make_comparison
from lrps.report.figures.catalogue import Figure, figures
from lrps.report.figures.forgetting import task_forgetting


@pytest.fixture(scope="module")
def drawn(trained: Any) -> dict[str, Figure]:
    return {figure.name: figure for figure in figures(make_comparison(trained))}


def parsed(figure: Figure, panel: int = 0) -> ElementTree.Element:
    """One panel; an inline drawing has no namespace, so that tags have their plain names."""
    _, drawing = figure.panels[panel]
    return ElementTree.fromstring(drawing.inline())


def texts(root: ElementTree.Element) -> list[str]:
    return [text.text or "" for text in root.iter("text")]


def hints(root: ElementTree.Element) -> list[str]:
    """What the markers say."""
    return [title.text or "" for group in root.iter("g") for title in group.iter("title")]


def test_a_finished_run_has_every_figure(drawn: dict[str, Figure]) -> None:
    assert list(drawn) == [
        "learning-rate",
        "lineage",
        "cumulative-cost",
        "loss-against-cost",
        "heldout-loss",
        "ageing",
        "forgetting",
        "training-loss",
        "goodput",
    ]
    assert [name for name, _ in drawn["forgetting"].panels] == [
        "forgetting-path-switching",
        "forgetting-ptfs",
        "forgetting-cpt",
    ]
    assert all(len(figure.caption) > 80 for figure in drawn.values())


def test_only_what_is_planned_is_drawn_before_training(make: Any) -> None:
    found = [figure.name for figure in figures(make_comparison(make()))]
    assert found == ["learning-rate", "lineage", "cumulative-cost"]


def test_branches_fork_from_the_main_path_at_the_maximal_rate(drawn: dict[str, Figure]) -> None:
    root = parsed(drawn["learning-rate"])
    rings = [c for c in root.iter("circle") if "hollow" in c.get("class", "")]
    released = [c for c in root.iter("circle") if "hollow" not in c.get("class", "")]
    assert len(rings) == len(released) == 4
    assert len({ring.get("cy") for ring in rings}) == 1
    starts = [float(ring.get("cx", "")) for ring in rings]
    stops = [float(dot.get("cx", "")) for dot in released]
    assert [b - a for a, b in zip(starts, stops, strict=True)] == pytest.approx([stops[0] - starts[0]] * 4, abs=0.2)
    assert (stops[1] - stops[0]) * 0.6 == pytest.approx(stops[0] - starts[0], abs=0.2), "alpha = 0.6"
    thick = [path for path in root.iter("path") if "thick" in path.get("class", "")]
    assert len(thick) == 1
    numbers = [float(n) for n in re.findall(r"[\d.]+", thick[0].get("d", ""))]
    assert numbers[-2] == pytest.approx(starts[-1], abs=0.2), "the main path ends at the newest fork"
    assert {"v1", "v2", "v3", "v4"} <= set(texts(root))
    assert "branch-v3 forks at step 1,200" in hints(root)


def test_a_shared_main_path_ends_where_the_paradigm_stops(make: Any) -> None:
    plan = make(paradigms={"path-switching": {"alpha": 0.6}, "longer": {"kind": "path-switching", "alpha": 0.8}})
    figure = figures(make_comparison(plan))[0]
    ends = []
    for panel in (0, 1):
        (main,) = (p for p in parsed(figure, panel).iter("path") if "thick" in p.get("class", ""))
        ends.append(float(re.findall(r"[\d.]+", main.get("d", ""))[-2]))
    assert ends[1] < ends[0]


def test_cumulative_cost_says_its_numbers(drawn: dict[str, Figure]) -> None:
    said = hints(parsed(drawn["cumulative-cost"]))
    assert "path-switching v4: 2,900 steps planned, all versions so far" in said
    assert "ptfs v3: 3,000 steps planned, all versions so far" in said
    assert len(said) == 12


@pytest.mark.parametrize(("name", "panel"), [("cumulative-cost", 0), ("heldout-loss", 0), ("heldout-loss", 1)])
def test_version_figures_have_one_tick_a_version(drawn: dict[str, Figure], name: str, panel: int) -> None:
    found = [text for text in texts(parsed(drawn[name], panel)) if text.startswith("v") and text != "version"]
    assert found == ["v4", "v3", "v2", "v1"]


def test_loss_against_cost_shows_hours_only_when_all_are_measured(
    drawn: dict[str, Figure], make: Any, formulas: Any
) -> None:
    assert [name for name, _ in drawn["loss-against-cost"].panels] == ["loss-against-steps", "loss-against-hours"]
    said = hints(parsed(drawn["loss-against-cost"], 1))
    assert said[0].startswith("path-switching: 0.0457 device-hours, measured, loss ")
    plan = make()
    formulas.Run(plan).train([path.name for path in plan.graph.paths if path.name != "ptfs-v2"])
    found = {figure.name: figure for figure in figures(make_comparison(plan))}
    (panel,) = found["loss-against-cost"].panels
    assert panel[0] == "loss-against-steps"
    assert hints(parsed(found["loss-against-cost"]))[1].startswith("ptfs: 5K training steps, planned, loss ")


def test_versions_that_are_not_measured_are_not_drawn(make: Any, formulas: Any) -> None:
    plan = make()
    formulas.Run(plan).train(["main", "branch-v1", "branch-v2"])
    found = {figure.name: figure for figure in figures(make_comparison(plan))}
    said = hints(parsed(found["heldout-loss"]))
    assert [hint.split(":")[0] for hint in said] == ["path-switching v1", "path-switching v2"]
    assert "loss-against-cost" not in found
    assert [name for name, _ in found["training-loss"].panels] == ["training-loss-path-switching"]
    released = [hint for hint in hints(parsed(found["training-loss"])) if "after step" in hint]
    assert len(released) == 2


def test_no_line_crosses_a_version_that_is_not_measured(make: Any, formulas: Any) -> None:
    plan = make(versions=5, paradigms={"path-switching": {}})
    formulas.Run(plan).train(["main", "branch-v1", "branch-v2", "branch-v4", "branch-v5"])
    found = {figure.name: figure for figure in figures(make_comparison(plan))}
    lines = [p.get("d", "") for p in parsed(found["heldout-loss"]).iter("path") if "line" in p.get("class", "").split()]
    assert [line.count("L") for line in lines] == [1, 1]
    assert len(hints(parsed(found["heldout-loss"]))) == 4


def test_forgetting_holds_every_evaluation(drawn: dict[str, Figure], formulas: Any) -> None:
    root = parsed(drawn["forgetting"], 2)
    cells = [title.text for rect in root.iter("rect") for title in rect.iter("title")]
    assert len(cells) == 2 + 3 + 4 + 4
    assert f"v4 on v1: {formulas.heldout_loss('cpt', 'v4', 'v1'):.4f}" in cells
    assert len([rect for rect in root.iter("rect") if rect.get("class") == "own"]) == 4


def test_training_curves_are_means_that_end_with_the_path(make: Any, formulas: Any) -> None:
    plan = make(steps=3000, versions=2)
    formulas.Run(plan).train(["ptfs-v2"])
    (figure,) = (f for f in figures(make_comparison(plan)) if f.name == "training-loss")
    root = parsed(figure)
    (line,) = (p for p in root.iter("path") if "line" in p.get("class", "").split())
    assert 20 < len(re.findall("[ML]", line.get("d", ""))) <= 62, "of 600 logged steps"
    (mark,) = (p for p in root.iter("path") if "mark" in p.get("class", "").split())
    end = float(re.findall(r"[\d.]+", line.get("d", ""))[-2])
    corners = [float(x) for x in re.findall(r"[ML]([\d.]+)", mark.get("d", ""))]
    assert (min(corners) + max(corners)) / 2 == pytest.approx(end, abs=0.2)


def with_matrix(comparison: Comparison, measure: str, scores: dict[str, dict[str, float]]) -> Comparison:
    """Return a comparison in which CPT has these scores of a measure."""
    cpt = comparison.paradigms["cpt"]
    matrix = replace(cpt.matrices["loss"], scores=scores)
    changed = replace(cpt, matrices={**cpt.matrices, measure: matrix})
    return replace(comparison, paradigms={**comparison.paradigms, "cpt": changed})


def test_forgetting_shows_beside_data_that_was_never_seen(trained: Any) -> None:
    comparison = make_comparison(trained)
    scores = comparison.paradigms["cpt"].matrices["loss"].scores
    unseen = with_matrix(comparison, "loss", {**scores, "v1": {**scores["v1"], "v2": 99.0}})
    (figure,) = (figure for figure in figures(unseen) if figure.name == "forgetting")
    cells = [rect for rect in parsed(figure, 2).iter("rect") if "cell" in rect.get("class", "")]
    shades = {cell[0].text.split(":")[0]: float(cell.get("fill-opacity", "")) for cell in cells}  # type: ignore[union-attr]
    assert shades["v1 on v2"] == max(shades.values())
    assert shades["v2 on v2"] - shades["v4 on v2"] > 0.04, "what CPT gained on v2 since"


def test_rouge_l_has_a_map_of_its_own(trained: Any) -> None:
    comparison = make_comparison(trained)
    assert "rouge-l" not in [figure.name for figure in figures(comparison)]
    scored = with_matrix(comparison, "rouge_l", {"v1": {"v1": 45.04, "v3": 10.0}, "v3": {"v1": 30.0, "v3": 55.0}})
    (figure,) = (figure for figure in figures(scored) if figure.name == "rouge-l")
    assert [name for name, _ in figure.panels] == ["rouge-l-cpt"]
    assert texts(parsed(figure))[2:4] == ["v1", "v3"], "only versions with pairs have a column"
    assert texts(parsed(figure))[-4:] == ["45.0", "10.0", "30.0", "55.0"]
    loss: Any = 3.0
    of_a_given_model = task_forgetting(replace(scored, initial_heldout={"v1": loss}))
    assert of_a_given_model is not None
    assert "(initial)" not in texts(parsed(of_a_given_model)), "the given model was not scored on pairs"
