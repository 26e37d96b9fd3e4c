"""Steps of a lineage that passed without an update: what checkpoints say, compared with the ledgers, and their rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from operator import or_

from lrps.audit.attempts import AttemptChain
from lrps.audit.evidence import PathEvidence
from lrps.audit.result import Difference, Leg
from lrps.base.step_set import NO_STEPS, StepSet
from lrps.data.mixture import Mixture
from lrps.paths.graph import Segment, SourceRange, TrainingPath
from lrps.store.checkpoints import MANIFEST
from lrps.store.identity import SKIPPED


def chain_of(run: Mapping[str, PathEvidence], leg: Leg) -> AttemptChain:
    """Return the attempts that trained a leg, with the states of its history."""
    return run[leg.path].chain.of_history(leg.history)


def lineage_skipped(run: Mapping[str, PathEvidence], legs: Sequence[Leg]) -> StepSet:
    """Return the steps of a lineage that passed without an update, by its ledgers."""
    return reduce(or_, (chain_of(run, leg).skipped(leg.stop) for leg in legs), NO_STEPS)


def check_skipped(run: Mapping[str, PathEvidence], legs: Sequence[Leg]) -> Iterator[Difference]:
    """Check that the checkpoints of a lineage's last path name the skipped steps that the ledgers have.

    A checkpoint that the ledger does not know has a difference of its own, and is left out here.
    """
    evidence = run[legs[-1].path]
    inherited = lineage_skipped(run, legs[:-1])
    for checkpoint in evidence.checkpoints:
        if checkpoint.step not in evidence.chain.saves:
            continue
        expected = (inherited | evidence.chain.skipped(checkpoint.step)).to_json()
        if (found := checkpoint.identity.get(SKIPPED, [])) != expected:
            what = "the checkpoint says that other steps passed without an update than the ledgers of its lineage"
            file = checkpoint.directory / MANIFEST
            yield Difference(what, evidence.path.name, file, checkpoint.step, expected=expected, found=found)
        amended = evidence.path.skips.within(evidence.path.start, checkpoint.step)
        if trained := [step for step in amended if step not in evidence.chain.skipped(checkpoint.step)]:
            what = "steps that an amendment lets pass without an update were trained"
            yield Difference(what, evidence.path.name, evidence.path_json, trained[0], found=trained)


def ranges_skipped(path: TrainingPath, skipped: StepSet) -> Iterator[SourceRange]:
    """Yield the ranges of rows that these of the path's own steps read, by source."""
    start = path.start
    for segment in path.segments:
        stop = start + segment.steps
        for first, last in skipped.within(start, stop).ranges:
            before, after = (_rows_read(segment, step - start) for step in (first, last + 1))
            for part, low, high in zip(segment.parts, before, after, strict=True):
                yield SourceRange(part.source, part.from_row + low, high - low)
        start = stop


def _rows_read(segment: Segment, steps: int) -> Sequence[int]:
    """Return the number of rows that the segment's first steps read of each of its parts."""
    rows = segment.rows // segment.steps * steps
    return Mixture([part.rows for part in segment.parts]).taken(rows) if len(segment.parts) > 1 else (rows,)
