"""Rows that the steps of a path read, and rows that a lineage of paths has used. Pure functions of the paths' segments.

They are independent of the code that serves the rows in training, so that the audit does not repeat its mistakes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lrps.audit.evidence import PartFacts, PathEvidence, SourceFacts
from lrps.audit.result import Difference, Leg, Lineage, Use
from lrps.audit.skipped import chain_of, ranges_skipped
from lrps.data.mixture import Mixture
from lrps.paths.amendments import abandoned_by
from lrps.paths.graph import Segment, SourceRange, TrainingPath


def _first_ranges(segment: Segment, steps: int) -> list[SourceRange]:
    """Return the range that the segment's first steps read of each of its parts."""
    rows = segment.rows // segment.steps * steps
    counts = Mixture([part.rows for part in segment.parts]).taken(rows) if len(segment.parts) > 1 else (rows,)
    return [SourceRange(part.source, part.from_row, count) for part, count in zip(segment.parts, counts, strict=True)]


def ranges_read(path: TrainingPath, stop: int) -> Iterator[tuple[int, list[SourceRange]]]:
    """Yield (lineage step at which it begins, ranges read up to lineage step `stop`) of every segment begun by then.

    A segment has one range for each of its parts.
    """
    start = path.start
    for segment in path.segments:
        if start >= stop:
            return
        yield start, _first_ranges(segment, min(stop - start, segment.steps))
        start += segment.steps


def next_positions(path: TrainingPath, step: int) -> tuple[dict[str, int], dict[str, int]]:
    """Return the next position in every source after lineage step `step`.

    There are two results, each source -> position: one for the sources that are begun by then, and one for the others.
    """
    reached: dict[str, int] = {}
    for _, parts in ranges_read(path, step):
        ends = {part.source: 0 for part in parts}
        for part in parts:
            ends[part.source] = max(ends[part.source], part.to_row)
        reached |= ends
    later: dict[str, int] = {}
    for part in (part for segment in path.segments for part in segment.parts):
        if part.source not in reached:
            later.setdefault(part.source, part.from_row)
    return reached, later


def lineage_legs(run: Mapping[str, PathEvidence], name: str) -> tuple[Leg, ...] | None:
    """Return the lineage of a path up to its newest saved state, oldest leg first; None if an ancestor is missing."""
    evidence = run[name]
    found = [Leg(name, evidence.path.start, evidence.chain.end)]
    while (parent := run[found[-1].path].path.parent) is not None:
        ancestor = run.get(parent.path)
        if ancestor is None or not ancestor.path.start < parent.step <= ancestor.path.stop:
            return None
        ended = abandoned_by(ancestor.path.amendments, parent.generation, parent.step)
        found.append(Leg(parent.path, ancestor.path.start, parent.step, parent.generation, ended))
    return tuple(reversed(found))


@dataclass(frozen=True)
class _RangeRead:
    """A range of one source that a segment reads."""

    evidence: PathEvidence
    """Path of the segment."""
    step: int
    """Lineage step at which the segment begins."""
    part: SourceRange

    @property
    def rows(self) -> int | None:
        """Number of rows of an epoch of the source; None if the path does not give it."""
        source = self.evidence.sources.get(self.part.source)
        return None if source is None or source.rows < 1 else source.rows


def _reads(run: Mapping[str, PathEvidence], lineage: Sequence[Leg]) -> Iterator[_RangeRead]:
    for leg in lineage:
        evidence = run[leg.path]
        for step, parts in ranges_read(evidence.path, leg.stop):
            for part in sorted(parts, key=lambda part: part.from_row):
                if part.rows:
                    yield _RangeRead(evidence, step, part)


def audit_lineage(run: Mapping[str, PathEvidence], lineage: tuple[Leg, ...]) -> tuple[Lineage, tuple[Difference, ...]]:
    """Return the rows that a lineage used, and a difference for every range that repeats rows or leaves some out.

    A correct lineage reads a prefix of every epoch: each range begins where the previous one ended.
    """
    used: dict[tuple[str, int], int] = {}
    facts: dict[str, SourceFacts] = {}
    differences: list[Difference] = []
    for read in _reads(run, lineage):
        if read.rows is None:
            what = "the path reads a source without giving the number of its rows"
            differences.append(_difference(read, what, "rows", None))
            continue
        facts[read.part.source] = read.evidence.sources[read.part.source]
        for epoch, first, count in _by_epoch(read.part, read.rows):
            reached = used.get((read.part.source, epoch), 0)
            if first != reached:
                kind = f"{first - reached} rows left out" if first > reached else f"{_again(first, count, reached)}"
                expected, found = (epoch * read.rows + position for position in (reached, first))
                differences.append(_difference(read, f"{kind} in epoch {epoch}: the next position", expected, found))
            used[read.part.source, epoch] = max(reached, first + count)
    uses = _uses(used, facts, _skipped_rows(run, lineage, facts))
    tip = run[lineage[-1].path]
    tokens = sum(entry.rows for entry in uses) * tip.training.sequence_length
    ledger_tokens = sum(chain_of(run, leg).tokens(leg.stop) for leg in lineage)
    return Lineage(lineage, tip.path.stop, uses, tokens, ledger_tokens), tuple(differences)


def _skipped_rows(
    run: Mapping[str, PathEvidence], lineage: Sequence[Leg], facts: Mapping[str, SourceFacts]
) -> dict[tuple[str, int], int]:
    """Return (set of shards, epoch) -> number of its rows that the skipped steps of a lineage read."""
    found: dict[tuple[str, int], int] = {}
    for leg in lineage:
        for read in ranges_skipped(run[leg.path].path, chain_of(run, leg).skipped(leg.stop)):
            if read.rows and read.source in facts:
                source = facts[read.source]
                for epoch, first, count in _by_epoch(read, source.rows):
                    for part, rows in _part_ranges(read.source, source, epoch, first, first + count):
                        for part_epoch, _, number in _by_epoch(rows, part.rows):
                            found[part.name, part_epoch] = found.get((part.name, part_epoch), 0) + number
    return found


def _uses(
    used: Mapping[tuple[str, int], int],
    facts: Mapping[str, SourceFacts],
    skipped: Mapping[tuple[str, int], int],
) -> tuple[Use, ...]:
    """Return the rows used of every epoch of every set of shards. skipped: of those, rows of skipped steps.

    used: (source, epoch) -> rows read of that epoch, from its first one on. Of a mixture, different rows are different
    positions of its parts, so that no row of a part is used twice where none of the mixture is.
    """
    ranges: dict[tuple[str, int], list[tuple[int, int]]] = {}
    lengths: dict[str, int] = {}
    for (source, epoch), rows in sorted(used.items()):
        for part, of_part in _part_ranges(source, facts[source], epoch, 0, rows):
            lengths[part.name] = part.rows
            for part_epoch, first, count in _by_epoch(of_part, part.rows):
                ranges.setdefault((part.name, part_epoch), []).append((count, first + count))
    rows_used = {key: sum(count for count, _ in found) for key, found in ranges.items()}
    last = dict(sorted(ranges))
    return tuple(
        Use(
            name,
            epoch,
            rows=rows,
            epoch_rows=lengths[name],
            reached=max(stop for _, stop in ranges[name, epoch]),
            later_epoch_begun=rows < lengths[name] and epoch < last[name],
            skipped_rows=skipped.get((name, epoch), 0),
        )
        for (name, epoch), rows in sorted(rows_used.items())
    )


def _part_ranges(
    source: str, facts: SourceFacts, epoch: int, first: int, stop: int
) -> Iterator[tuple[PartFacts, SourceRange]]:
    """Yield the range that positions [first, stop) of an epoch of a source read of each of its sets of shards."""
    parts = facts.parts(source)
    mixture = Mixture([part.count for part in parts])
    for part, before, after in zip(parts, mixture.taken(first), mixture.taken(stop), strict=True):
        yield part, SourceRange(part.name, epoch * part.count + before, after - before)


def _again(first: int, count: int, reached: int) -> str:
    return f"{min(reached - first, count)} rows used twice"


def _by_epoch(part: SourceRange, rows: int) -> Iterator[tuple[int, int, int]]:
    """Yield (epoch, first position within it, number of positions) of a part. rows: number of rows of an epoch."""
    position = part.from_row
    while position < part.to_row:
        epoch, first = divmod(position, rows)
        count = min(rows - first, part.to_row - position)
        yield epoch, first, count
        position += count


def _difference(read: _RangeRead, what: str, expected: Any, found: Any) -> Difference:
    evidence = read.evidence
    return Difference(what, evidence.path.name, evidence.path_json, read.step, read.part.source, expected, found)
