"""Lengths of decays and rows of mixes, against independent arithmetic."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrps.base.errors import ConfigError
from lrps.paths.graph import Graph, TrainingPath
from support.compiled_paths import compiled, parts, rows_read


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


def test_a_share_beyond_all_steps_is_refused() -> None:
    with pytest.raises(ConfigError, match="alpha 60 gives version v1 a decay of 6000 steps, but there are only 100"):
        compiled([100, 100], alpha=60)


def test_an_inverse_decay_to_zero_is_refused() -> None:
    with pytest.raises(ConfigError, match="never reaches 0"):
        compiled([100], kind="wsd-s")


def test_a_final_rate_above_the_peak_is_refused() -> None:
    with pytest.raises(ConfigError, match="final rate 2 is above the peak rate 1 of version v1"):
        compiled([100], final_lr=2.0)


THIRDS = {"new": 0.7, "replay": 0.1, "rehearsal": 0.2}


def test_branches_read_the_sets_so_far_from_their_beginning() -> None:
    branches = compiled([100, 100, 100], mix=THIRDS, sets=[("a", 30, "v2"), ("b", 90, "v3")]).paths[1:]
    assert [parts(branch) for branch in branches] == [
        [("v1", 80, 200)],
        [("v2", 80, 164), ("v1", 200, 212), ("a", 0, 24)],
        [("v3", 80, 164), ("v1", 200, 206), ("v2", 200, 206), ("a", 0, 6), ("b", 0, 18)],
    ]


def test_cpt_continues_every_set_where_the_last_version_stopped() -> None:
    paths = compiled([100, 100, 100], kind="cpt", mix=THIRDS, sets=[("a", 30, "v1"), ("b", 30, "v3")]).paths
    assert [parts(path) for path in paths] == [
        [("v1", 0, 160), ("a", 0, 40)],  # The set has 30 rows, so a second epoch has begun.
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
    """Nor does it change how a decay that is longer than its increment reads the two of them."""
    strategy = {"alpha": 30, "alpha_of": "steps", "sets": [("a", 9, "v3")]}
    assert compiled([100, 10], mix={"new": 0.9, "rehearsal": 0.1}, **strategy) == compiled([100, 10], **strategy)


@st.composite
def rehearsed(draw: st.DrawFn) -> tuple[list[int], dict[str, Any]]:
    """Draw the steps of versions, and a strategy with rehearsal sets and mixes."""
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
    """Return the number of rows of a path by source, for sources whose names begin with `mark`."""
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
def test_every_source_continues_where_its_lineage_stopped(made: tuple[list[int], dict[str, Any]]) -> None:
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
