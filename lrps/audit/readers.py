"""Rows of one source that a lineage of paths has read up to a step, from the evidence of a run directory."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lrps.audit.evidence import PathEvidence
from lrps.audit.lineage import lineage_legs, ranges_read
from lrps.audit.result import Leg
from lrps.paths.graph import TrainingPath


@dataclass(frozen=True)
class EpochRead:
    """Rows of one epoch of a source that were read."""

    epoch: int
    """Number of the epoch, from 0 on."""
    sequences: int
    """Number of sequences that were read."""
    of: int
    """Number of sequences of the source."""


@dataclass(frozen=True)
class SourceRead:
    """Sequences of a source that a state contains: those that its lineage has read, ancestors included."""

    sequences: int
    """Number of sequences, those of later epochs counted again."""
    tokens: int
    """Number of tokens of these sequences."""
    epochs: tuple[EpochRead, ...]
    """Epochs that were read, oldest first."""
    first_step: int
    """Lineage step of the first state that contains a sequence of the source."""
    last_step: int
    """Lineage step after the last sequence was read."""


def source_read(run: Mapping[str, PathEvidence], name: str, step: int, source: str) -> SourceRead | None:
    """Return what the state of a path after lineage step `step` contains of a source; None if it contains none of it.

    step: at most that of the path's newest saved state. An ancestor that is not in the run is left out.
    """
    found = lineage_legs(run, name) or (Leg(name, run[name].path.start, step),)
    legs = [replace(leg, stop=min(leg.stop, step)) for leg in found]
    read = {leg: rows for leg in legs if (rows := rows_read(run[leg.path].path, leg.stop, source))}
    if not read:
        return None
    evidence = run[name]
    first, last = next(iter(read)), next(reversed(read))
    sequences = sum(read.values())
    return SourceRead(
        sequences=sequences,
        tokens=sequences * evidence.training.sequence_length,
        epochs=_epochs(run, legs, source),
        first_step=_step_with(run[first.path].path, first.stop, source, 1),
        last_step=_step_with(run[last.path].path, last.stop, source, read[last]),
    )


def rows_read(path: TrainingPath, stop: int, source: str) -> int:
    """Return the number of rows of a source that a path's own steps up to lineage step `stop` read."""
    return sum(part.rows for _, parts in ranges_read(path, stop) for part in parts if part.source == source)


def _step_with(path: TrainingPath, stop: int, source: str, rows: int) -> int:
    """Return the first lineage step up to `stop` after which the path's own steps have read `rows` rows of a source."""
    steps = range(path.start, stop + 1)
    return steps[bisect_left(steps, rows, key=lambda step: rows_read(path, step, source))]


def _epochs(run: Mapping[str, PathEvidence], legs: Sequence[Leg], source: str) -> tuple[EpochRead, ...]:
    read: dict[int, int] = {}
    of = 0
    for leg in legs:
        facts = run[leg.path].sources.get(source)
        for _, parts in ranges_read(run[leg.path].path, leg.stop):
            for part in parts:
                if part.source != source or not part.rows or facts is None:
                    continue
                of = facts.rows
                for epoch in range(part.from_row // of, (part.to_row - 1) // of + 1):
                    rows = min(part.to_row, (epoch + 1) * of) - max(part.from_row, epoch * of)
                    read[epoch] = read.get(epoch, 0) + rows
    return tuple(EpochRead(epoch, read[epoch], of) for epoch in sorted(read))
