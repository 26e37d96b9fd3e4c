"""Digests of paths: equal for equal training up to a step, and different for any other rate, row or parent."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.data.mixture import Mixture
from lrps.paths.graph import Fork, Paradigm, Segment, SourceRange, TrainingPath
from lrps.paths.path_digest import PathDigest, differences, lineage_digest, path_digest
from lrps.paths.schedule import SHAPES, Schedule, SchedulePiece, warmup_stable
from support.compiled_paths import compiled

BATCH = 4
OTHER = PathDigest(None, "a", "b")


@st.composite
def schedules(draw: st.DrawFn, steps: int) -> Schedule:
    """A schedule of [0, steps) with a few different rates, so that equal and different ones both occur."""
    cuts = sorted({0, steps, *draw(st.lists(st.integers(1, steps - 1), max_size=2))})
    rates, shapes = st.sampled_from([0.5, 1.0, 1]), st.sampled_from(["constant", "warmup", *SHAPES])
    pieces = [SchedulePiece(draw(shapes), a, b, draw(rates), draw(rates)) for a, b in pairwise(cuts)]
    return Schedule(tuple(pieces))


@st.composite
def segments(draw: st.DrawFn, steps: int) -> tuple[Segment, ...]:
    found = []
    while steps:
        taken = draw(st.integers(1, steps))
        rows = [taken * BATCH]
        if draw(st.booleans()) and taken > 1:
            first = draw(st.integers(1, taken * BATCH - 1))
            rows = [first, taken * BATCH - first]
        starts = [draw(st.sampled_from([0, 3])) for _ in rows]
        found.append(Segment(taken, tuple(SourceRange(f"v{k}", starts[k], rows[k]) for k in range(len(rows)))))
        steps -= taken
    return tuple(found)


@st.composite
def paths(draw: st.DrawFn, steps: int = 6) -> TrainingPath:
    return TrainingPath("main", "main", None, 0, steps, draw(schedules(steps)), draw(segments(steps)))


def rows_of_steps(path: TrainingPath, stop: int) -> list[tuple[str, int]]:
    """Return the source and position of every row of steps [path.start, stop), in the order in which they are read."""
    rows: list[tuple[str, int]] = []
    for segment in path.segments:
        parts, index = Mixture([part.rows for part in segment.parts]).assign(range(segment.rows))
        rows += [
            (segment.parts[part].source, segment.parts[part].from_row + int(place))
            for part, place in zip(parts, index, strict=True)
        ]
    return rows[: (stop - path.start) * BATCH]


@given(paths(), paths(), st.integers(0, 6))
def test_other_rates_or_rows_of_any_step_give_another_digest(one: TrainingPath, two: TrainingPath, step: int) -> None:
    mine, theirs = (path_digest(path, step, None) for path in (one, two))
    if [one.schedule.lr_at(s) for s in range(step)] != [two.schedule.lr_at(s) for s in range(step)]:
        assert mine.rates != theirs.rates
    if rows_of_steps(one, step) != rows_of_steps(two, step):
        assert mine.data != theirs.data
    assert step or (mine.rates, mine.data) == (theirs.rates, theirs.data), "no step, no difference"


STRATEGIES: list[dict[str, Any]] = [
    {"kind": "path-switching", "alpha": 0.6, "mix": {"new": 0.75, "replay": 0.25}},
    {"kind": "path-switching", "alpha": 0.5, "main_mix": {"new": 0.5, "replay": 0.5}},
    {"kind": "path-switching", "alpha": 0.5, "schedule": {"peak_lr": 1.0, "warmup_steps": 5, "power_coefficient": 2.0}},
    {"kind": "cpt", "mix": {"new": 0.75, "replay": 0.25}},
    {"kind": "ptfs"},
    {"kind": "wsd-s", "final_lr": 0.1},
]


def digests(paradigm: Paradigm) -> dict[tuple[str, int], PathDigest]:
    """Return the digest of every path of a paradigm after each of its steps."""
    by_name = {path.name: path for path in paradigm.paths}
    found = {}
    for path in paradigm.paths:
        lineage = [path]
        while (parent := lineage[0].parent) is not None:
            lineage.insert(0, by_name[parent.path])
        found |= {(path.name, step): lineage_digest(lineage, step) for step in range(path.start, path.stop + 1)}
    return found


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda each: each["kind"])
@given(steps=st.lists(st.integers(8, 20), min_size=2, max_size=4))
def test_a_plan_that_grows_keeps_its_digests(strategy: dict[str, Any], steps: list[int]) -> None:
    before, after = (digests(compiled(versions, **strategy)) for versions in (steps[:-1], steps))
    assert {key: after[key] for key in before} == before
    assert len(after) > len(before)


def test_names_do_not_count_and_the_parent_does() -> None:
    path = TrainingPath(
        "b", "branch", Fork("main", 3), 3, 4, warmup_stable(1.0, 2), (Segment(1, (SourceRange("v1", 6, 2),)),)
    )
    digest = path_digest(path, 4, OTHER)
    named = replace(path, name="c", kind="cpt", parent=Fork("other", 3))
    assert path_digest(named, 4, OTHER) == digest
    changed = [
        path_digest(path, 4, replace(OTHER, rates="c")),
        path_digest(replace(path, parent=Fork("main", 3, "reset")), 4, OTHER),
    ]
    assert [differences(digest.to_json(), each) for each in changed] == [["the history of its parent"]] * 2


def test_what_differs_is_named() -> None:
    mine = PathDigest("p", "r", "d")
    assert differences(None, mine) == [], "nothing was recorded"
    assert differences(mine.to_json(), mine) == []
    assert differences(PathDigest("p", "x", "y").to_json(), mine) == ["the learning rates", "the rows that were read"]
    assert differences({"rates": "r", "data": "d"}, mine) == ["the history of its parent"]
    assert differences({**mine.to_json(), "newer": "key"}, mine) == ["newer"], "a key of a newer lrps is a difference"
    assert differences("text", mine) == ["the digest of the path, which is none"]


def test_the_time_does_not_depend_on_the_number_of_steps() -> None:
    steps = 10**15
    path = TrainingPath(
        "main", "main", None, 0, steps, warmup_stable(1.0, 10**9), (Segment(steps, (SourceRange("v1", 0, steps),)),)
    )
    assert path_digest(path, steps, None) != path_digest(path, steps - 1, None)


def test_a_step_outside_the_path_and_a_missing_parent_are_errors() -> None:
    path = TrainingPath("main", "main", None, 0, 1, warmup_stable(1.0, 2), (Segment(1, (SourceRange("v1", 0, 2),)),))
    with pytest.raises(ValueError, match="step 2 is not one of steps 0 to 1"):
        path_digest(path, 2, None)
    with pytest.raises(ValueError, match="forks from None, but the digest there is"):
        path_digest(path, 1, OTHER)
