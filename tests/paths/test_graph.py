"""Training paths as values: segments, growth and lineage."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lrps.paths.graph import Fork, Graph, Paradigm, Release, Segment, SourceRange, TrainingPath
from lrps.paths.schedule import Schedule, constant, warmup_stable

MAIN_SCHEDULE = warmup_stable(1.0, 5)


def main_path(stop: int, *segments: Segment) -> TrainingPath:
    return TrainingPath("main", "main", None, 0, stop, MAIN_SCHEDULE, segments)


V1 = Segment(10, (SourceRange("v1", 0, 20),))
V2 = Segment(10, (SourceRange("v2", 0, 20),))


def test_rows_must_fill_the_steps() -> None:
    with pytest.raises(ValueError, match="cannot take 21 rows"):
        Segment(10, (SourceRange("v1", 0, 21),))


def test_segments_must_cover_the_steps() -> None:
    with pytest.raises(ValueError, match="do not cover"):
        main_path(11, V1)


def test_a_path_starts_at_its_fork() -> None:
    with pytest.raises(ValueError, match="but forks from"):
        TrainingPath("b", "branch", Fork("main", 3), 4, 5, MAIN_SCHEDULE, (Segment(1, (SourceRange("v1", 0, 1),)),))


def test_a_mixed_segment_cannot_be_cut() -> None:
    mixed = Segment(10, (SourceRange("v1", 0, 10), SourceRange("v2", 0, 10)))
    with pytest.raises(ValueError, match="mixed"):
        mixed.first(5)
    assert mixed.first(10) == mixed


def test_a_longer_main_path_extends_a_shorter_one() -> None:
    short, long = main_path(4, V1.first(4)), main_path(20, V1, V2)
    assert long.extends(short)
    assert not short.extends(long)
    assert long.extends(long)


@pytest.mark.parametrize(
    "other",
    [
        replace(main_path(20, V1, V2), schedule=warmup_stable(0.9, 5)),
        main_path(20, V2, V1),
        main_path(20, Segment(10, (SourceRange("v1", 5, 20),)), V2),
    ],
    ids=["other rates", "other order", "other rows"],
)
def test_another_path_is_no_extension(other: TrainingPath) -> None:
    assert not other.extends(main_path(4, V1.first(4)))


def branch(step: int, stop: int) -> TrainingPath:
    return TrainingPath(
        f"b{step}", "branch", Fork("main", step), step, stop, constant(step, stop, 1.0), (V2.first(stop - step),)
    )


def test_branch_points_are_forks_and_releases() -> None:
    main = main_path(12, V1, V2.first(2))
    paths = (main, branch(4, 10), branch(12, 20))
    graph = Graph((Paradigm("p", "path-switching", paths, (Release("v1", "main", 10), Release("v2", "b12", 20))),))
    assert graph.branch_points("main") == (4, 10, 12)
    assert graph.branch_points("b12") == (20,)
    assert graph.branch_points("b4") == ()
    assert [p.name for p in graph.lineage(paths[2])] == ["main", "b12"]


def test_the_longest_of_a_shared_path_counts_once() -> None:
    short, long = main_path(4, V1.first(4)), main_path(20, V1, V2)
    graph = Graph((Paradigm("a", "path-switching", (short,), ()), Paradigm("b", "path-switching", (long,), ())))
    assert graph.paths == (long,)
    assert graph.total_steps == 20


def test_the_rate_at_the_end_is_the_limit() -> None:
    assert main_path(20, V1, V2).lr_stop == 1.0
    assert replace(main_path(20, V1, V2), schedule=Schedule((*constant(0, 20, 0.3).pieces,))).lr_stop == 0.3
