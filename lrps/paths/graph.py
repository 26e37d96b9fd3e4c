"""Training paths and the graph that they form, as frozen values.

They define which steps are trained, from which state, at which learning rate and on which rows. A paradigm compiles a
config into them; the trainer executes them, the ledger accounts for them and the report draws them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import attrgetter

from lrps.base.document import OPTIONAL
from lrps.base.step_set import StepSet
from lrps.ledger.reader import EMA, MERGE, RAW
from lrps.paths.amendments import AmendedSchedule, Amendments, clip_at, scaled_to, skips
from lrps.paths.merge_window import merge_steps
from lrps.paths.schedule import Schedule


@dataclass(frozen=True)
class SourceRange:
    """Rows [from_row, from_row + rows) of a source's own stream.

    Positions continue across epochs: a position at or beyond the number of the source's rows is in a later, reshuffled
    epoch.
    """

    source: str
    """Name of an increment or of a rehearsal set."""
    from_row: int
    rows: int

    @property
    def to_row(self) -> int:
        """Position after the last row."""
        return self.from_row + self.rows


@dataclass(frozen=True)
class Segment:
    """Optimizer steps that read one or several parts, mixed evenly."""

    steps: int
    parts: tuple[SourceRange, ...]
    """Ranges of rows. Together they have as many rows as the steps read, the same number in every step."""
    rows: int = field(init=False, compare=False)
    """Number of rows of all parts."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", sum(map(attrgetter("rows"), self.parts)))
        if self.steps < 1 or self.rows % self.steps:
            raise ValueError(f"a segment of {self.steps} steps cannot take {self.rows} rows")

    def first(self, steps: int) -> Segment:
        """Return the segment's first steps. Only a segment with one part can be cut; ValueError for a mixed one."""
        if steps == self.steps:
            return self
        if len(self.parts) != 1:
            raise ValueError("a mixed segment cannot be cut: its mixture is exact only as a whole")
        (part,) = self.parts
        return Segment(steps, (SourceRange(part.source, part.from_row, self.rows // self.steps * steps),))

    def starts_with(self, other: Segment) -> bool:
        """Return whether the first `other.steps` steps of this segment are exactly `other`."""
        if self == other:
            return True
        return len(self.parts) == 1 and other.steps <= self.steps and self.first(other.steps) == other


@dataclass(frozen=True)
class Fork:
    """The state that a path starts from: that of another path after `step` steps of its lineage."""

    path: str
    """Name of the other path."""
    step: int
    optimizer: str = "carry"
    """Start of the optimizer: `carry` the Adam moments and their step count, or `reset` them."""
    generation: int = field(default=0, compare=False)
    """History of the other path that the state belongs to, see paths/amendments.py. It is no part of the plan: forks
    are compared without it."""


@dataclass(frozen=True)
class TrainingPath:
    """One learning-rate path: steps [start, stop) of its lineage. ValueError if its values contradict each other."""

    name: str
    kind: str
    """Kind of the path: main | branch | ptfs | cpt | wsd-s | probe; `job` in path.json. Training does not depend on
    it."""
    parent: Fork | None
    """Fork that the path starts from, with parent.step == start; None for the initial weights."""
    start: int
    stop: int
    schedule: Schedule
    """Learning rate of every step by the plan, without amendments."""
    segments: tuple[Segment, ...]
    """Rows of the steps, in the order in which they are trained."""
    amendments: Amendments = ()
    """Everything that `lrps rewind` has changed, oldest first. It is no part of the plan: `extends` ignores it."""
    rate_at_fork: tuple[float, float] | None = None
    """Rate of the parent at the fork by the plan, and with its amendments, if these differ; see paths/amended.py."""

    def __post_init__(self) -> None:
        if self.start != (self.parent.step if self.parent else 0):
            raise ValueError(f"{self.name}: starts at {self.start}, but forks from {self.parent}")
        if sum(s.steps for s in self.segments) != self.steps:
            raise ValueError(f"{self.name}: its segments do not cover steps {self.start} to {self.stop}")

    @property
    def steps(self) -> int:
        """Number of the path's own steps."""
        return self.stop - self.start

    @cached_property
    def rates(self) -> AmendedSchedule:
        """Learning rate of every step with the amendments of the path and of its parent: what is trained with."""
        base = self.schedule if self.rate_at_fork is None else scaled_to(self.schedule, *self.rate_at_fork)
        return AmendedSchedule(base, self.amendments)

    @property
    def lr_start(self) -> float:
        """Learning rate of the first step."""
        return self.rates.lr_at(self.start)

    @property
    def lr_stop(self) -> float:
        """Learning rate that the path ends at: the limit after its last step."""
        return self.rates.lr_after(self.stop)

    @property
    def skips(self) -> StepSet:
        """Steps that pass without an update, by amendments."""
        return skips(self.amendments)

    def clip_at(self, step: int) -> float | None:
        """Return the largest gradient norm that amendments set for a step; None if it is that of the config."""
        return clip_at(self.amendments, step)

    def of_history(self, history: int) -> TrainingPath:
        """Return the path as it was in one of its histories: with the amendments up to that number."""
        return self if len(self.amendments) <= history else replace(self, amendments=self.amendments[:history])

    @property
    def rows(self) -> int:
        """Number of rows that the path's own steps read."""
        return sum(segment.rows for segment in self.segments)

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the sources that the path reads, ordered by their first use."""
        return tuple(dict.fromkeys(part.source for segment in self.segments for part in segment.parts))

    def extends(self, other: TrainingPath) -> bool:
        """Return whether this path, cut at other.stop, equals `other` step for step.

        Names, kinds and amendments do not count.
        """
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
    form: str = field(default=RAW, metadata=OPTIONAL)
    """Form of the weights: raw, the exponential moving average (ema), or the mean of several states (merge)."""

    @property
    def label(self) -> str:
        """Version with the form of its weights if they are not raw, such as `v3 (merge of 10 states)`."""
        words = form_in_words(self.form, len(self.states))
        return f"{self.version} ({words})" if words else self.version

    @property
    def states(self) -> tuple[int, ...]:
        """Steps whose states the release needs: its own, or those that a merge averages."""
        return merge_steps(self.step) if self.form == MERGE else (self.step,)


def form_in_words(form: str, states: int) -> str:
    """Return the form of weights as people read it; empty for raw ones. states: number of states of a merge."""
    return {RAW: "", EMA: "EMA", MERGE: f"merge of {states} states"}[form]


MATCHED_STEPS = "matched-steps"
"""Kind of a paradigm from scratch with the steps of another one. It is no PTFS, from which ratios are counted."""


@dataclass(frozen=True)
class Paradigm:
    """One way to make all versions: its paths and its releases."""

    name: str
    """Name of its strategy in the config."""
    kind: str
    """Kind of its strategy: path-switching | ptfs | cpt | wsd-s; matched-steps for ptfs with `steps_of`."""
    paths: tuple[TrainingPath, ...]
    """Paths, parents before children."""
    releases: tuple[Release, ...]
    """Released versions, oldest first."""

    @property
    def total_steps(self) -> int:
        """Number of steps of all paths, each counted once."""
        return sum(path.steps for path in self.paths)


@dataclass(frozen=True)
class Probe:
    """A short decay from the main path on data of interest, and its control. It belongs to no paradigm."""

    name: str
    """Name in the config."""
    path: TrainingPath
    """Decay on the data of the probe."""
    control: TrainingPath
    """The same decay from the same state on the rows that the main path would read next. It may be a branch."""

    @property
    def paths(self) -> tuple[TrainingPath, TrainingPath]:
        """The control and the path of the probe."""
        return self.control, self.path


@dataclass(frozen=True)
class Graph:
    """The paths of several paradigms, and probes. Paths that are equal have one name and are trained once."""

    paradigms: tuple[Paradigm, ...]
    probes: tuple[Probe, ...] = ()

    @cached_property
    def by_name(self) -> dict[str, TrainingPath]:
        """Every path once, by name, parents before children. A main path that paradigms share is the longest one."""
        longest: dict[str, TrainingPath] = {}
        for path in (path for paradigm in self.paradigms for path in paradigm.paths):
            if path.name not in longest or path.stop > longest[path.name].stop:
                longest[path.name] = path
        for path in (path for probe in self.probes for path in probe.paths):
            longest.setdefault(path.name, path)
        return longest

    @property
    def paths(self) -> tuple[TrainingPath, ...]:
        """Every path once, parents before children."""
        return tuple(self.by_name.values())

    @property
    def total_steps(self) -> int:
        """Number of steps of all paths, shared ones counted once."""
        return sum(path.steps for path in self.paths)

    @cached_property
    def releases(self) -> tuple[Release, ...]:
        """Every released state once, in the order of the paradigms."""
        return tuple(dict.fromkeys(release for paradigm in self.paradigms for release in paradigm.releases))

    @cached_property
    def probed(self) -> dict[str, tuple[str, ...]]:
        """Mapping from path to the probes whose results its last state shows, as the probe's own path or control."""
        paths = {path.name for probe in self.probes for path in probe.paths}
        return {name: tuple(p.name for p in self.probes if name in [each.name for each in p.paths]) for name in paths}

    @property
    def probe_paths(self) -> tuple[TrainingPath, ...]:
        """Paths that only probes need: they belong to no paradigm."""
        owned = {path.name for paradigm in self.paradigms for path in paradigm.paths}
        return tuple(path for path in self.paths if path.name not in owned)

    @cached_property
    def _branch_points(self) -> dict[str, set[int]]:
        steps: dict[str, set[int]] = {name: set() for name in self.by_name}
        for path in self.paths:
            if path.parent:
                steps[path.parent.path].add(path.parent.step)
        for release in self.releases:
            steps[release.path].update(release.states)
        return steps

    def children(self, name: str) -> tuple[TrainingPath, ...]:
        """Return the paths that fork from a path."""
        return tuple(path for path in self.paths if path.parent is not None and path.parent.path == name)

    def branch_points(self, name: str) -> tuple[int, ...]:
        """Return the steps of a path at which other paths fork or that a release needs, in ascending order."""
        return tuple(sorted(self._branch_points[name]))

    def with_ancestors(self, paths: Iterable[TrainingPath]) -> tuple[TrainingPath, ...]:
        """Return paths and their ancestors, each once, parents before children."""
        found: dict[str, TrainingPath] = {}
        for path in paths:
            chain = [path]
            while chain[-1].name not in found and (parent := chain[-1].parent) is not None:
                chain.append(self.by_name[parent.path])
            found.update((each.name, each) for each in reversed(chain))
        return tuple(found.values())

    def sources_until(self, release: Release) -> set[str]:
        """Return the sources that a released state was trained on, along its lineage."""
        lineage = self.lineage(self.by_name[release.path])
        stops = [*(path.start for path in lineage[1:]), release.step]
        found: set[str] = set()
        for path, stop in zip(lineage, stops, strict=True):
            step = path.start
            for segment in path.segments:
                if step < stop:
                    found.update(part.source for part in segment.parts)
                step += segment.steps
        return found

    def lineage(self, path: TrainingPath) -> tuple[TrainingPath, ...]:
        """Return the path and its ancestors, oldest first, each in the history that the next one forked from."""
        chain = [path]
        while (parent := chain[-1].parent) is not None:
            chain.append(self.by_name[parent.path].of_history(parent.generation))
        return tuple(reversed(chain))
