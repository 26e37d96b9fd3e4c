"""Classification of the rows that a path trains on: unique, replayed or rehearsal.

A row of a rehearsal set is rehearsal. A row of an increment is replayed if the increment ends at or before the start of
the path, or if the row is read in a second or later epoch: of its increment, or of its part where the increment is a
mixture. All other rows are unique. So for a path
from the initial weights only rows that it reads again are replayed. The rows of older increments that the mix of a main
path adds are at first those that the mix displaced before, and they are unique.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

from lrps.paths.graph import SourceRange, TrainingPath
from lrps.paths.increments import Increment, RehearsalSet

FirstReads = Callable[[int], int]
"""Function from a position n of a source's stream to the number of rows among the first n that no earlier one repeats.
"""


@dataclass(frozen=True)
class Usage:
    """Numbers of unique, replayed and rehearsal rows, or of their tokens."""

    unique: int = 0
    replayed: int = 0
    rehearsal: int = 0

    def times(self, tokens_per_row: int) -> Usage:
        """Return the usage in tokens of a usage in rows."""
        return Usage(self.unique * tokens_per_row, self.replayed * tokens_per_row, self.rehearsal * tokens_per_row)


def usage(
    path: TrainingPath,
    taken: Iterable[tuple[SourceRange, int]],
    increments: Sequence[Increment],
    rehearsal: Sequence[RehearsalSet],
    first_reads: Mapping[str, FirstReads],
) -> Usage:
    """Return the usage of the rows that a path has read.

    taken: (part of the path, number of rows read from the beginning of the part). increments, rehearsal: all of the
    plan's. first_reads: those of the increments that are mixtures; an increment that is none has each row once in its
    first epoch.
    """
    ends = accumulate(increment.steps for increment in increments)
    open_increments = {i.version: i for i, end in zip(increments, ends, strict=True) if end > path.start}
    sets = {each.name for each in rehearsal}
    unique = replayed = rehearsed = 0
    for part, rows in taken:
        if part.source in sets:
            rehearsed += rows
        else:
            new = 0
            if (increment := open_increments.get(part.source)) is not None:
                unique_until = first_reads.get(part.source, partial(min, increment.rows))
                new = unique_until(part.from_row + rows) - unique_until(part.from_row)
            unique, replayed = unique + new, replayed + rows - new
    return Usage(unique, replayed, rehearsed)
