"""Unique, replayed and rehearsal rows of paths."""

from __future__ import annotations

import pytest

from lrps.paths.graph import Fork, Segment, SourceRange, TrainingPath
from lrps.paths.increments import CandidateSet, Increment, RehearsalSet
from lrps.paths.schedule import constant
from lrps.paths.usage import RowUsage, Usage

INCREMENTS = (Increment("v1", 21, 10), Increment("v2", 20, 10))
"""Increments of two rows a step; one row of v1 is left over."""
SETS = (RehearsalSet("old", 8, "v2"),)


def path(start: int, *parts: SourceRange) -> TrainingPath:
    rows = sum(part.rows for part in parts)
    parent = Fork("main", start) if start else None
    return TrainingPath(
        "p", "branch", parent, start, start + rows // 2, constant(0, None, 0.5), (Segment(rows // 2, parts),)
    )


@pytest.mark.parametrize(
    ("start", "part", "expected"),
    [
        (0, SourceRange("v1", 0, 20), Usage(unique=20)),
        (0, SourceRange("v1", 0, 42), Usage(unique=21, replayed=21)),
        (4, SourceRange("v1", 8, 12), Usage(unique=12)),
        (10, SourceRange("v1", 20, 4), Usage(replayed=4)),
        (10, SourceRange("v2", 0, 20), Usage(unique=20)),
        (14, SourceRange("v2", 20, 12), Usage(replayed=12)),
        (10, SourceRange("old", 0, 16), Usage(rehearsal=16)),
        (10, SourceRange("code", 0, 16), Usage(unique=12, replayed=4)),
        (25, SourceRange("v2", 0, 20), Usage(unique=20)),
    ],
    ids=[
        "scratch",
        "two passes",
        "rest",
        "older increment",
        "own",
        "reshuffled pass",
        "set, twice",
        "candidate",
        "after extra steps",
    ],
)
def test_a_whole_part(start: int, part: SourceRange, expected: Usage) -> None:
    one = path(start, part)
    assert RowUsage(INCREMENTS, SETS, {}, (CandidateSet("code", 12),)).of(one, [(part, part.rows)]) == expected


def test_parts_that_were_read_to_some_row() -> None:
    parts = SourceRange("v2", 8, 12), SourceRange("v1", 21, 6), SourceRange("old", 0, 2)
    taken = zip(parts, (5, 3, 1), strict=True)
    usage = RowUsage(INCREMENTS, SETS, {})
    assert usage.of(path(14, *parts), taken) == Usage(5, 3, 1)
    assert usage.of(path(14, *parts), []) == Usage()
    assert Usage(5, 3, 1) + Usage(1, 2, 3) == Usage(6, 5, 4)
    assert Usage(5, 3, 1).times(10) == Usage(50, 30, 10)
