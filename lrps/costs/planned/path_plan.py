"""Plans of training paths: where each starts, what it reads, what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from lrps.base.document import INLINE, OPTIONAL, key
from lrps.paths.cost import Cost
from lrps.paths.graph import Fork, SourceRange, TrainingPath
from lrps.paths.usage import Usage
from lrps.plan.plan import Plan

MOST_RANGES = 64
"""Largest number of ranges that a path lists itself; those of a longer list are in the `row_ranges` of its paradigm."""


@dataclass(frozen=True)
class ParentStep:
    """State that a path starts from."""

    path: str
    """Name of the parent path."""
    step: int
    """Step of the lineage."""


@dataclass(frozen=True)
class RowRange:
    """Rows [from_row, to_row) of a source's stream; positions beyond the rows of an epoch are in a later one."""

    source: str
    """Name of a version or rehearsal set."""
    from_row: int
    """First row."""
    to_row: int
    """Row after the last one."""


@dataclass(frozen=True)
class RangeSlice:
    """Slice [from_range, to_range) of the `row_ranges` of a paradigm."""

    from_range: int
    """Index of the first range, from 0."""
    to_range: int
    """Index after the last range."""


@dataclass(frozen=True)
class MixTokens:
    """Tokens of a path by what they are to its lineage."""

    new: int
    """Number of tokens that the lineage reads for the first time."""
    replay: int
    """Number of tokens of versions that the lineage has read before."""
    rehearsal: int
    """Number of tokens of rehearsal sets."""


@dataclass(frozen=True)
class PathPlan:
    """A training path: where it starts, what it reads, what it costs."""

    name: str
    """Name of the path, and of its directory in the run."""
    kind: str = field(metadata=key("job"))
    """main, branch, ptfs, cpt, wsd-s or probe."""
    parent: ParentStep | None
    """State that it starts from; null for the initial weights."""
    optimizer: str
    """start (no state yet), or what becomes of the parent's optimizer state: carry or reset."""
    start_step: int
    """Step of the lineage that it starts after."""
    stop_step: int
    """Last step of the lineage."""
    cost: Cost = field(metadata=INLINE)
    lr_start: float
    """Learning rate of the first step."""
    lr_stop: float
    """Learning rate after the last step."""
    done_steps: int
    """Number of steps that are trained already."""
    data: tuple[RowRange, ...] | None
    """Rows that it reads, in order of their segments; null for more than 64 ranges, which `data_slice` refers to."""
    mix_tokens: MixTokens
    """Numbers of tokens by what they are to the lineage."""
    data_slice: RangeSlice | None = field(default=None, metadata=OPTIONAL)
    """Rows that it reads, as a slice of the `row_ranges` of its paradigm; null if `data` lists them."""


def ranges_of(path: PathPlan, row_ranges: Sequence[RowRange]) -> Sequence[RowRange]:
    """Return the rows that a path reads. row_ranges: those of its paradigm."""
    if path.data_slice is not None:
        return row_ranges[path.data_slice.from_range : path.data_slice.to_range]
    return path.data or ()


def parent_step(parent: Fork | None) -> ParentStep | None:
    """Return the state that a path starts from; None for the initial weights."""
    return None if parent is None else ParentStep(parent.path, parent.step)


def untrained_steps(path: TrainingPath, done: Mapping[str, int]) -> int:
    """Return the number of steps of a path that are missing. done: path name -> lineage step that exists already."""
    return max(0, path.stop - max(path.start, done.get(path.name, path.start)))


@dataclass(frozen=True)
class _Read:
    """Ranges of sequences that a path reads."""

    start: int = 0
    """Step of the lineage at which the path starts."""
    parts: tuple[SourceRange, ...] = ()
    usage: Usage = field(default_factory=Usage)
    """Usage of the rows of all parts."""


class PathPlanner:
    """Maker of the plans of a paradigm's paths, one after the other.

    A path that first reads all that the one before it reads, as every path of PTFS does, costs the work of its other
    ranges only.
    """

    def __init__(self, plan: Plan, done: Mapping[str, int]) -> None:
        """done: path name -> lineage step that exists already."""
        self._plan, self._done = plan, done
        self.row_ranges: list[RowRange] = []
        """Ranges of paths with more than MOST_RANGES of them; what two paths in a row share is listed once."""
        self._last = _Read()
        self._listed = RangeSlice(0, 0)

    def plan_of(self, path: TrainingPath) -> PathPlan:
        """Return the plan of a path."""
        plan, shared = self._plan, self._read(path)
        parts, tokens = self._last.parts, self._last.usage.times(plan.config.data.sequence_length)
        short = len(parts) <= MOST_RANGES
        return PathPlan(
            name=path.name,
            kind=path.kind,
            parent=parent_step(path.parent),
            optimizer="start" if path.parent is None else path.parent.optimizer,
            start_step=path.start,
            stop_step=path.stop,
            cost=plan.costs.of(path.steps),
            lr_start=path.lr_start,
            lr_stop=path.lr_stop,
            done_steps=path.steps - untrained_steps(path, self._done),
            data=tuple(map(_row_range, parts)) if short else None,
            mix_tokens=MixTokens(tokens.unique, tokens.replayed, tokens.rehearsal),
            data_slice=None if short else self._list(shared),
        )

    def _read(self, path: TrainingPath) -> int:
        """Set what a path reads; return the number of its parts that the path before it has too, all or none of them.

        What a row is to a lineage depends on the start of its path, so that paths of different starts share nothing.
        """
        parts, last = tuple(chain.from_iterable(segment.parts for segment in path.segments)), self._last
        if path.start != last.start or parts[: len(last.parts)] != last.parts:
            last = _Read(path.start)
        shared = len(last.parts)
        own = self._plan.row_usage.of(path, ((part, part.rows) for part in parts[shared:]))
        self._last = _Read(path.start, parts, last.usage + own)
        return shared

    def _list(self, shared: int) -> RangeSlice:
        """Add the parts of the path to the ranges but for the first `shared`, if these are there; return its slice."""
        begin = self._listed.from_range
        if self._listed.to_range - begin != shared:
            begin, shared = len(self.row_ranges), 0
        self.row_ranges += map(_row_range, self._last.parts[shared:])
        self._listed = RangeSlice(begin, len(self.row_ranges))
        return self._listed


def _row_range(part: SourceRange) -> RowRange:
    return RowRange(part.source, part.from_row, part.to_row)
