"""Paths and the graph they form: frozen values that say what is trained, from where, at which rate, on which rows.

A paradigm compiles a config into these; the trainer executes them, the ledger accounts for them, the report draws
them. Nothing here knows how.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from lrps.paths.schedule import Schedule


@dataclass(frozen=True)
class SourceRange:
    """Rows [from_row, from_row + rows) of a source's own stream.

    Positions count on over epochs: a position at or beyond the source's rows is in a later, reshuffled epoch.
    """

    source: str
    from_row: int
    rows: int

    @property
    def to_row(self) -> int:
        return self.from_row + self.rows


@dataclass(frozen=True)
class Segment:
    """Parts that are mixed evenly over `steps` optimizer steps; the rows of the parts add up to steps * batch."""

    steps: int
    parts: tuple[SourceRange, ...]
    rows: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", sum(part.rows for part in self.parts))
        if self.steps < 1 or self.rows % self.steps:
            raise ValueError(f"a segment of {self.steps} steps cannot take {self.rows} rows")

    def first(self, steps: int) -> Segment:
        """The segment's first steps. Only an unmixed segment can be cut without changing its order."""
        if steps == self.steps:
            return self
        if len(self.parts) != 1:
            raise ValueError("a mixed segment cannot be cut: its mixture is exact only as a whole")
        (part,) = self.parts
        return Segment(steps, (SourceRange(part.source, part.from_row, self.rows // self.steps * steps),))

    def starts_with(self, other: Segment) -> bool:
        """True if the first `other.steps` steps of this segment are exactly `other`."""
        if self == other:
            return True
        return len(self.parts) == 1 and other.steps <= self.steps and self.first(other.steps) == other


@dataclass(frozen=True)
class Fork:
    """State that a path starts from: another path's state after `step` steps of its lineage."""

    path: str
    step: int
    optimizer: str = "carry"
    """`carry` the Adam moments and their step count, or `reset` them."""


@dataclass(frozen=True)
class TrainingPath:
    """One learning-rate path: steps [start, stop) of its lineage.

    parent: the fork it starts from, with parent.step == start; None means the initial weights.
    kind: main | branch | ptfs | cpt | wsd-s, for dashboards; `job` in path.json.
    """

    name: str
    kind: str
    parent: Fork | None
    start: int
    stop: int
    schedule: Schedule
    segments: tuple[Segment, ...]

    def __post_init__(self) -> None:
        if self.start != (self.parent.step if self.parent else 0):
            raise ValueError(f"{self.name}: starts at {self.start}, forks from {self.parent}")
        if sum(s.steps for s in self.segments) != self.steps:
            raise ValueError(f"{self.name}: its segments do not cover steps {self.start} to {self.stop}")

    @property
    def steps(self) -> int:
        return self.stop - self.start

    @property
    def lr_start(self) -> float:
        return self.schedule.lr_at(self.start)

    @property
    def lr_stop(self) -> float:
        return self.schedule.lr_after(self.stop)

    @property
    def rows(self) -> int:
        return sum(segment.rows for segment in self.segments)

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of what it reads, in the order in which they come first."""
        return tuple(dict.fromkeys(part.source for segment in self.segments for part in segment.parts))

    def extends(self, other: TrainingPath) -> bool:
        """True if this path, cut at other.stop, is `other` step for step (names aside)."""
        if (self.parent, self.start) != (other.parent, other.start) or self.stop < other.stop:
            return False
        if self.schedule.clipped(other.start, other.stop) != other.schedule.clipped(other.start, other.stop):
            return False
        pairs = zip(self.segments, other.segments, strict=False)
        whole = len(other.segments) - 1
        return len(self.segments) > whole and all(
            mine == theirs if i < whole else mine.starts_with(theirs) for i, (mine, theirs) in enumerate(pairs)
        )


@dataclass(frozen=True)
class Release:
    """Released state of a version: that of a path after `step` steps of its lineage."""

    version: str
    """Name of the version."""
    path: str
    """Name of the path."""
    step: int
    """Step of the lineage."""


@dataclass(frozen=True)
class Paradigm:
    """One way to make all versions: its paths, parents before children, and what it releases, oldest first."""

    name: str
    kind: str
    paths: tuple[TrainingPath, ...]
    releases: tuple[Release, ...]

    @property
    def total_steps(self) -> int:
        return sum(path.steps for path in self.paths)


@dataclass(frozen=True)
class Graph:
    """The paths of several paradigms. A path that two paradigms share has one name and is trained once."""

    paradigms: tuple[Paradigm, ...]

    @cached_property
    def by_name(self) -> dict[str, TrainingPath]:
        """Every path once, parents before children; of a main path that paradigms share, the longest."""
        longest: dict[str, TrainingPath] = {}
        for path in (path for paradigm in self.paradigms for path in paradigm.paths):
            if path.name not in longest or path.stop > longest[path.name].stop:
                longest[path.name] = path
        return longest

    @property
    def paths(self) -> tuple[TrainingPath, ...]:
        return tuple(self.by_name.values())

    @property
    def total_steps(self) -> int:
        return sum(path.steps for path in self.paths)

    @cached_property
    def releases(self) -> tuple[Release, ...]:
        """Every released state once."""
        return tuple(dict.fromkeys(release for paradigm in self.paradigms for release in paradigm.releases))

    @cached_property
    def _branch_points(self) -> dict[str, set[int]]:
        steps: dict[str, set[int]] = {name: set() for name in self.by_name}
        for path in self.paths:
            if path.parent:
                steps[path.parent.path].add(path.parent.step)
        for release in self.releases:
            steps[release.path].add(release.step)
        return steps

    def branch_points(self, name: str) -> tuple[int, ...]:
        """The steps of path `name` that are needed for ever: other paths fork there, or a version is released."""
        return tuple(sorted(self._branch_points[name]))

    def lineage(self, path: TrainingPath) -> tuple[TrainingPath, ...]:
        """The path and its ancestors, oldest first."""
        chain = [path]
        while (parent := chain[-1].parent) is not None:
            chain.append(self.by_name[parent.path])
        return tuple(reversed(chain))
