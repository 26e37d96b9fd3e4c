"""What rows are to the lineage that trains on them: unique, replayed, or rehearsal.

A row of a rehearsal set is rehearsal. A row of an increment is replayed if the increment ends where the path starts, or
before, or if it comes in a later pass over its own increment; else it is unique. So a path that starts from scratch
replays only what it reads again: a main path with a mix first reads what the mix had displaced, which is unique.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from lrps.paths.graph import SourceRange, TrainingPath
from lrps.paths.increments import Increment, RehearsalSet


@dataclass(frozen=True)
class Usage:
    """Rows, or tokens of rows, by what they are to a lineage."""

    unique: int = 0
    replayed: int = 0
    rehearsal: int = 0

    def times(self, tokens_per_row: int) -> Usage:
        """Rows -> tokens."""
        return Usage(self.unique * tokens_per_row, self.replayed * tokens_per_row, self.rehearsal * tokens_per_row)


def usage(
    path: TrainingPath,
    taken: Iterable[tuple[SourceRange, int]],
    increments: Sequence[Increment],
    rehearsal: Sequence[RehearsalSet],
) -> Usage:
    """Usage of the first rows of a path's parts. taken: (part, how many rows of it)."""
    ends = accumulate(increment.steps for increment in increments)
    first_pass = {i.version: 0 if end <= path.start else i.rows for i, end in zip(increments, ends, strict=True)}
    sets = {each.name for each in rehearsal}
    unique = replayed = rehearsed = 0
    for part, rows in taken:
        if part.source in sets:
            rehearsed += rows
        else:
            new = max(0, min(part.from_row + rows, first_pass[part.source]) - part.from_row)
            unique, replayed = unique + new, replayed + rows - new
    return Usage(unique, replayed, rehearsed)
