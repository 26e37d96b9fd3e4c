"""Histories of the paths of a run: those that `lrps rewind` has ended, and rewinds that a crash has cut short."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from lrps.ledger.records import Record
from lrps.ledger.totals import REWIND
from lrps.paths.amendments import abandoned_by
from lrps.paths.graph import TrainingPath
from lrps.plan.plan import Plan


def unfinished(path: TrainingPath, records: Iterable[Record]) -> list[int]:
    """Return the numbers of the path's amendments that its ledger has no record of: their rewinds were cut short.

    records: those of all attempts at the path.
    """
    booked = {record.facts["amendment"] for record in records if record.kind == REWIND}
    return [number for number in range(1, len(path.amendments) + 1) if number not in booked]


def older_history(plan: Plan, path: TrainingPath) -> str | None:
    """Return words for a lineage with a fork from a history that a rewind has ended; None if it has no such fork.

    path: a path of the plan that was begun.
    """
    lineage: Sequence[TrainingPath] = plan.graph.lineage(path)
    for _, child in pairwise(lineage):
        fork = child.parent
        assert fork is not None, "a path with an ancestor has a parent"
        number = abandoned_by(plan.graph.by_name[fork.path].amendments, fork.generation, fork.step)
        if number is not None:
            whose = "" if child.name == path.name else f"made from {child.name}, which was "
            return f"{whose}forked from {fork.path} before its amendment {number}"
    return None
