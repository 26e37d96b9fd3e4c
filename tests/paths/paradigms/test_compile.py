"""Compiled graphs against independent arithmetic: costs, geometry, data, rates."""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrps.base.errors import ConfigError
from lrps.config.models import Config
from lrps.paths.graph import Graph, TrainingPath
from lrps.paths.increments import RehearsalSet
from lrps.paths.paradigms.compile import compile_graph
from support.compiled_paths import compiled, increments, parts, rows_read

MakeConfig = Callable[..., Config]


# Costs


@pytest.mark.parametrize(("kind", "total"), [("path-switching", 5800), ("ptfs", 10000), ("cpt", 4000)])
def test_four_equal_versions(kind: str, total: int) -> None:
    assert compiled([1000] * 4, kind=kind).total_steps == total


@pytest.mark.parametrize(
    ("alpha", "versions", "ratio"),
    [(0.2, 2, 0.733), (0.8, 2, 0.933), (0.4, 4, 0.520), (0.6, 4, 0.580), (0.2, 10, 0.215), (0.8, 10, 0.313)],
)
def test_ratios_of_the_paper(alpha: float, versions: int, ratio: float) -> None:
    steps = [1000] * versions
    measured = compiled(steps, alpha=alpha).total_steps / compiled(steps, kind="ptfs").total_steps
    assert round(measured, 3) == ratio


@given(
    steps=st.lists(st.integers(1, 5000), min_size=1, max_size=30),
    percents=st.lists(st.integers(1, 100), min_size=30, max_size=30),
)
@settings(deadline=None)
def test_unequal_versions_cost_the_closed_form(steps: list[int], percents: list[int]) -> None:
    alphas = {f"v{k}": percent / 100 for k, percent in enumerate(percents[: len(steps)], 1)}
    decays = [
        max(1, int((Decimal(percent) / 100 * t).quantize(Decimal(1), ROUND_HALF_UP)))
        for percent, t in zip(percents, steps, strict=False)
    ]
    paradigm = compiled(steps, alpha_per_version=alphas)
    assert paradigm.total_steps == sum(steps) + sum(decays[:-1])
    assert compiled(steps, kind="ptfs").total_steps == sum(sum(steps[:k]) for k in range(1, len(steps) + 1))
    assert compiled(steps, kind="cpt").total_steps == sum(steps)
    assert compiled(steps, kind="wsd-s", final_lr=0.1).total_steps == sum(steps)


def test_a_thousand_versions() -> None:
    n, t = 1000, 10
    assert compiled([t] * n).total_steps == t * n + 6 * (n - 1)
    assert compiled([t] * n, kind="ptfs").total_steps == t * n * (n + 1) // 2


@pytest.mark.parametrize(
    ("strategy", "decays"),
    [
        ({"alpha": 0.1, "alpha_of": "steps-so-far"}, [10, 30, 60]),
        ({"alpha": 25, "alpha_of": "steps"}, [25, 25, 25]),
        ({"alpha": "1.6K", "alpha_of": "tokens"}, [100, 100, 100]),  # 16 tokens a step
        ({"alpha": 0.5, "alpha_per_version": {"v2": 1}}, [50, 200, 150]),
    ],
)
def test_units_of_alpha(strategy: dict[str, Any], decays: list[int]) -> None:
    branches = compiled([100, 200, 300], **strategy).paths
    assert [path.steps for path in branches if path.kind == "branch"] == decays


def test_a_decay_longer_than_the_increment_forks_earlier() -> None:
    main, *_, last = compiled([100, 10], alpha=30, alpha_of="steps").paths
    assert (last.start, last.stop) == (80, 110)
    assert parts(last) == [("v1", 160, 200), ("v2", 0, 20)]
    assert main.stop == 80


# Rehearsal

THIRDS = {"new": 0.7, "replay": 0.1, "rehearsal": 0.2}


def test_branches_read_the_sets_so_far_from_their_beginning() -> None:
    branches = compiled([100, 100, 100], mix=THIRDS, sets=[("a", 30, "v2"), ("b", 90, "v3")]).paths[1:]
    assert [parts(branch) for branch in branches] == [
        [("v1", 80, 200)],
        [("v2", 80, 164), ("v1", 200, 212), ("a", 0, 24)],
        [("v3", 80, 164), ("v1", 200, 206), ("v2", 200, 206), ("a", 0, 6), ("b", 0, 18)],
    ]


def test_cpt_goes_on_in_every_set_where_the_last_version_stopped() -> None:
    paths = compiled([100, 100, 100], kind="cpt", mix=THIRDS, sets=[("a", 30, "v1"), ("b", 30, "v3")]).paths
    assert [parts(path) for path in paths] == [
        [("v1", 0, 160), ("a", 0, 40)],  # 30 rows: a second epoch has begun
        [("v2", 0, 140), ("v1", 160, 180), ("a", 40, 80)],
        [("v3", 0, 140), ("v1", 180, 190), ("v2", 140, 150), ("a", 80, 100), ("b", 0, 20)],
    ]


@pytest.mark.parametrize("kind", ["path-switching", "cpt"])
def test_a_version_may_have_a_mix_of_its_own(kind: str) -> None:
    mixes = {"v2": {"new": 0.5, "rehearsal": 0.5}, "v3": {"new": 0.75, "replay": 0.25}}
    *_, second, third = compiled([100] * 3, kind=kind, mix_per_version=mixes, sets=[("a", 30, "v1")]).paths
    assert [part.source for part in second.segments[0].parts] == ["v2", "a"]
    assert second.segments[0].parts[1].rows == second.rows // 2
    assert [part.source for part in third.segments[0].parts] == ["v3", "v1", "v2"]
    assert third.segments[0].parts[0].rows == third.rows * 3 // 4


@pytest.mark.parametrize(("kind", "more"), [("ptfs", {}), ("wsd-s", {"final_lr": 0.1})])
def test_paradigms_without_a_mix_read_no_sets(kind: str, more: dict[str, Any]) -> None:
    beside = compiled([100] * 3, kind=kind, sets=[("a", 9, "v1")], **more)
    assert compiled([100] * 3, kind=kind, **more) == beside


def test_a_share_that_nothing_fills_changes_nothing() -> None:
    """Not even how a decay that is longer than its increment goes over the two of them."""
    strategy = {"alpha": 30, "alpha_of": "steps", "sets": [("a", 9, "v3")]}
    assert compiled([100, 10], mix={"new": 0.9, "rehearsal": 0.1}, **strategy) == compiled([100, 10], **strategy)


def test_an_empty_set_is_refused(make_config: MakeConfig) -> None:
    sets = [RehearsalSet("a", 1, "v1"), RehearsalSet("b", 0, "v1")]
    with pytest.raises(ConfigError, match="rehearsal set b has less than one row"):
        compile_graph(make_config(), increments(100), rehearsal=sets)


@st.composite
def rehearsed(draw: st.DrawFn) -> tuple[list[int], dict[str, Any]]:
    """Steps of versions, and a strategy with sets and mixes."""
    steps = draw(st.lists(st.integers(10, 200), min_size=1, max_size=5))
    names = [f"v{k}" for k in range(1, len(steps) + 1)]
    sizes = draw(st.lists(st.tuples(st.integers(1, 400), st.sampled_from(names)), min_size=1, max_size=4))
    shares = st.tuples(st.integers(0, 45), st.integers(0, 45)).map(
        lambda p: {"new": (100 - p[0] - p[1]) / 100, "replay": p[0] / 100, "rehearsal": p[1] / 100}
    )
    kind = draw(st.sampled_from(["path-switching", "cpt"]))
    return steps, {
        "kind": kind,
        **({"main_mix": draw(shares)} if kind == "path-switching" else {}),
        "sets": [(f"r{i}", rows, since) for i, (rows, since) in enumerate(sizes)],
        "alpha": draw(st.integers(1, 100)) / 100,
        "mix": draw(shares),
        "mix_per_version": draw(st.dictionaries(st.sampled_from(names), shares)),
    }


def rows_of_kind(path: TrainingPath, mark: str) -> dict[str, int]:
    """Rows of a path by source, of those whose names begin with `mark`."""
    parts = (part for segment in path.segments for part in segment.parts)
    return {part.source: part.rows for part in parts if part.source.startswith(mark)}


@given(rehearsed())
@settings(deadline=None)
def test_shares_are_exact(made: tuple[list[int], dict[str, Any]]) -> None:
    steps, strategy = made
    paradigm = compiled(steps, **strategy)
    releases = {release.path: release.version for release in paradigm.releases}
    assert all(segment.rows == 2 * segment.steps for path in paradigm.paths for segment in path.segments)
    for path in (path for path in paradigm.paths if path.kind != "main"):
        version = releases[path.name]
        share = strategy["mix_per_version"].get(version, strategy["mix"])["rehearsal"]
        sizes = {name: rows for name, rows, since in strategy["sets"] if since <= version}
        found = rows_of_kind(path, "r")
        taken = sum(found.values())
        assert abs(taken - (share * path.rows if sizes else 0)) <= 0.5 + 1e-9, "the nearest whole number"
        assert found.keys() <= sizes.keys()
        assert all(abs(found.get(n, 0) - taken * rows / sum(sizes.values())) < 1 for n, rows in sizes.items())


@given(rehearsed())
@settings(deadline=None)
def test_every_source_goes_on_where_its_lineage_stopped(made: tuple[list[int], dict[str, Any]]) -> None:
    steps, strategy = made
    graph = Graph((compiled(steps, **strategy),))
    for path in graph.paths:
        read: dict[str, list[int]] = {}
        for source, row in (row for ancestor in graph.lineage(path) for row in rows_read(ancestor, path)):
            read.setdefault(source, []).append(row)
        for source, rows in read.items():
            assert rows == list(range(len(rows))), f"{path.name} leaves out or repeats rows of {source}"


@given(made=rehearsed(), more=st.integers(10, 200), rows=st.integers(1, 400))
@settings(deadline=None)
def test_what_comes_later_changes_no_earlier_path(made: tuple[list[int], dict[str, Any]], more: int, rows: int) -> None:
    steps, strategy = made
    later = {**strategy, "sets": [*strategy["sets"], ("rx", rows, f"v{len(steps) + 1}")]}
    before = compiled(steps, **strategy)
    assert compiled(steps, **later) == before
    grown = {path.name: path for path in compiled([*steps, more], **later).paths}
    assert all(path == grown[path.name] or path.kind == "main" for path in before.paths)


@pytest.mark.parametrize("steps", [[20], [20, 30]])
@pytest.mark.parametrize("kind", ["path-switching", "ptfs", "cpt"])
def test_a_warmup_that_leaves_no_room_is_refused(kind: str, steps: list[int], make_config: MakeConfig) -> None:
    config = make_config(schedule={"peak_lr": 1.0, "warmup_steps": 20}, paradigms={kind: {}})
    with pytest.raises(ConfigError, match=r"warmup_steps 20 leaves no step of version v1 \(20 steps\)"):
        compile_graph(config, increments(*steps))


def test_a_rewarmup_that_leaves_no_room_is_refused(make_config: MakeConfig) -> None:
    config = make_config(schedule={"peak_lr": 1.0, "warmup_steps": 20}, paradigms={"cpt": {}})
    with pytest.raises(ConfigError, match=r"re-warm-up of 20 steps leaves no step of version v2 \(15 steps\)"):
        compile_graph(config, increments(40, 15))


def test_a_share_beyond_all_steps_is_refused() -> None:
    with pytest.raises(ConfigError, match="alpha 60 of version v1 is a decay of 6000 steps, but there are 100"):
        compiled([100, 100], alpha=60)


def test_the_power_law_is_one_of_tokens_and_the_warmup_meets_it() -> None:
    schedule = {"peak_lr": 1.0, "warmup_steps": 5, "power_coefficient": 2.0}
    main = compiled([100, 100], schedule=schedule).paths[0].schedule
    assert main.lr_at(50) == pytest.approx(2.0 * (16 * 51) ** -0.51)
    assert main.lr_at(4) == pytest.approx(main.lr_at(5))


# The other paradigms


def test_ptfs_mixes_all_increments_from_the_start() -> None:
    paths = compiled([100, 50], kind="ptfs").paths
    assert [parts(path) for path in paths] == [[("v1", 0, 200)], [("v1", 0, 200), ("v2", 0, 100)]]
    assert [len(path.segments) for path in paths] == [1, 1]
    assert all(path.parent is None and path.lr_stop == 0 for path in paths)


def test_cpt_rewarms_from_the_last_rate_and_resets_the_optimizer() -> None:
    first, second = compiled([100, 100], kind="cpt", final_lr=0.1).paths
    assert second.parent is not None
    assert (second.parent.path, second.parent.step, second.parent.optimizer) == (first.name, 100, "reset")
    assert [second.schedule.lr_at(s) for s in (100, 104, 105)] == pytest.approx([0.28, 1.0, 1.0])
    assert second.lr_stop == 0.1


def test_cpt_can_go_on_at_the_final_rate() -> None:
    _, second = compiled([100, 100], kind="cpt", restart="continue", final_lr=0.1, optimizer="carry").paths
    assert {second.schedule.lr_at(s) for s in range(100, 200)} == {0.1}


def test_cpt_at_the_final_rate_zero_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing would be learned; set paradigms.cpt.final_lr"):
        compiled([100, 100], kind="cpt", restart="continue")


def test_cpt_can_stay_at_the_peak() -> None:
    first, second = compiled([100, 100], kind="cpt", restart="constant").paths
    assert first.schedule.lr_at(99) == second.schedule.lr_at(150) == 1.0


def test_cpt_goes_on_at_the_rate_that_a_multi_step_decay_ends_at() -> None:
    first, second = compiled([100, 100], kind="cpt", restart="continue", decay="multi-step").paths
    assert first.lr_stop == second.lr_start == pytest.approx(0.1)


def test_wsd_s_goes_on_from_the_decayed_checkpoint_without_a_rewarm() -> None:
    first, second = compiled([100, 100], kind="wsd-s", final_lr=0.1).paths
    assert first.lr_stop == pytest.approx(0.1)
    assert [second.schedule.lr_at(s) for s in (100, 139, 140)] == [1.0, 1.0, 1.0]
    assert second.parent is not None
    assert second.parent.optimizer == "carry"


def test_an_inverse_decay_to_zero_is_refused() -> None:
    with pytest.raises(ConfigError, match="never reaches 0"):
        compiled([100], kind="wsd-s")


def test_a_final_rate_above_the_peak_is_refused() -> None:
    with pytest.raises(ConfigError, match="above schedule.peak_lr"):
        compiled([100], final_lr=2.0)


# Sharing


def test_equal_paths_are_trained_once(make_config: MakeConfig) -> None:
    paradigms = {
        "path-switching": {},
        "long": {"kind": "path-switching", "alpha": 0.9},
        "short": {"kind": "path-switching", "alpha": 0.2},
        "ptfs": {},
        "cpt": {},
        "again": {"kind": "cpt"},
    }
    graph = compile_graph(make_config(paradigms=paradigms), increments(100, 100, 100, 100))
    named = {paradigm.name: [path.name for path in paradigm.paths] for paradigm in graph.paradigms}
    assert named["long"][0] == named["short"][0] == "main"
    assert named["cpt"] == named["again"] == ["ptfs-v1", "cpt-v2", "cpt-v3", "cpt-v4"]
    assert graph.by_name["main"].stop == 380, "the longest main path is the one that is trained"
    alone = {paradigm.name: paradigm.total_steps for paradigm in graph.paradigms}
    assert alone == {"path-switching": 580, "long": 670, "short": 460, "ptfs": 1000, "cpt": 400, "again": 400}
    assert graph.total_steps == 380 + 4 * (60 + 90 + 20) + 1000 + 300


def test_other_rates_are_other_paths(make_config: MakeConfig) -> None:
    paradigms = {"ptfs": {}, "cpt": {"decay": "linear"}}
    graph = compile_graph(make_config(paradigms=paradigms), increments(100, 100))
    assert graph.paradigms[1].paths[0].name == "cpt-v1"


def test_an_increment_below_one_step_is_refused(make_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match="version v2 has 1 rows, less than one batch of 2"):
        compile_graph(make_config(), increments(100, 0))
