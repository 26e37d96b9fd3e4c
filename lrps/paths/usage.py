"""Classification of the rows that a path trains on: unique, replayed or rehearsal.

A row of a rehearsal set is rehearsal. A row of a candidate set is replayed if it is read in a second or later epoch of
the set. A row of an increment is replayed if the increment ends at or before the start of the path (or of the newest
increment that it reads from the first row on, if that begins earlier), or if the row is read in a second or later
epoch: of its increment, or of its part where the increment is a mixture. All other rows are unique. So for a path from
the initial weights only rows that it reads again are replayed. The rows of older increments that the mix of a main path
adds are at first those that the mix displaced before, and they are unique.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import accumulate

from lrps.paths.graph import SourceRange, TrainingPath
from lrps.paths.increments import CandidateSet, Increment, RehearsalSet

FirstReads = Callable[[int], int]
"""Function from a position n of a source's stream to the number of rows among the first n that no earlier one repeats.
"""


@dataclass(frozen=True)
class Usage:
    """Numbers of unique, replayed and rehearsal rows, or of their tokens."""

    unique: int = 0
    replayed: int = 0
    rehearsal: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.unique + other.unique, self.replayed + other.replayed, self.rehearsal + other.rehearsal)

    def times(self, tokens_per_row: int) -> Usage:
        """Return the usage in tokens of a usage in rows."""
        return Usage(self.unique * tokens_per_row, self.replayed * tokens_per_row, self.rehearsal * tokens_per_row)


@dataclass(frozen=True)
class RowUsage:
    """Classification of rows by the increments and the other sets of a plan."""

    increments: Sequence[Increment]
    rehearsal: Sequence[RehearsalSet]
    first_reads: Mapping[str, FirstReads]
    """Function by increment or set, of those that are mixtures; any other has each row once in its first epoch."""
    candidates: Sequence[CandidateSet] = ()

    @cached_property
    def _ends(self) -> dict[str, int]:
        """Mapping from increment to the step at which it ends."""
        ends = accumulate(increment.steps for increment in self.increments)
        return {increment.version: end for increment, end in zip(self.increments, ends, strict=True)}

    @cached_property
    def _starts(self) -> dict[str, int]:
        """Mapping from increment to the step at which it begins."""
        return {increment.version: self._ends[increment.version] - increment.steps for increment in self.increments}

    @cached_property
    def _sets(self) -> frozenset[str]:
        return frozenset(each.name for each in self.rehearsal)

    @cached_property
    def _first_reads(self) -> dict[str, FirstReads]:
        plain = {increment.version: partial(min, increment.rows) for increment in self.increments}
        sets = {each.name: partial(min, each.rows) for each in self.candidates}
        return {**plain, **sets, **self.first_reads}

    @cached_property
    def _candidates(self) -> frozenset[str]:
        return frozenset(each.name for each in self.candidates)

    def of(self, path: TrainingPath, taken: Iterable[tuple[SourceRange, int]]) -> Usage:
        """Return the usage of rows of a path. taken: (part of the path, number of rows read from its beginning)."""
        unique = replayed = rehearsed = 0
        # A lineage with extra steps may be beyond the end of the increment that it reads from its first row on.
        first = (part.source for segment in path.segments for part in segment.parts if part.from_row == 0)
        since = min(path.start, max((self._starts[name] for name in first if name in self._starts), default=path.start))
        for part, rows in taken:
            if part.source in self._sets:
                rehearsed += rows
                continue
            new = 0
            if part.source in self._candidates or self._ends.get(part.source, 0) > since:
                first_reads, begin = self._first_reads[part.source], part.from_row
                new = first_reads(begin + rows) - first_reads(begin)
            unique, replayed = unique + new, replayed + rows - new
        return Usage(unique, replayed, rehearsed)
