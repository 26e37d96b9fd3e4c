"""Computation of every row of every lineage, one by one, with the real mixtures and orders, from manifests alone.

The rest of the audit counts positions; this proves that the positions of an epoch are different rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lrps.audit.evidence import PartFacts, PathEvidence
from lrps.audit.result import Difference, Lineage
from lrps.base.errors import DataError
from lrps.data.files import LocalFiles
from lrps.data.manifest import load_manifest, manifest_path
from lrps.data.mixture import Mixture
from lrps.data.stream import TokenSource

CHUNK_ROWS = 2**20
"""Number of rows that are computed at a time."""

Progress = Callable[[int, int], None]
"""Function that is called with the number of rows that are computed and the number of all rows."""


@dataclass(frozen=True)
class _MixedRows:
    """The first `rows` rows of a mixture: of a segment that begins at lineage step `step`, or of a mixed source.

    counts: (name of the source or of the part's shards, number of its rows in the mixture).
    """

    evidence: PathEvidence
    counts: tuple[tuple[str, int], ...]
    rows: int
    step: int | None = None
    rows_of_a_step: int = 1


@dataclass(frozen=True)
class _EpochPrefix:
    """The longest prefix of an epoch of a set of shards that any lineage used part of.

    evidence: a path of that lineage that has the source.
    """

    evidence: PathEvidence
    part: PartFacts
    epoch: int
    rows: int


def recompute(
    paths: Iterable[PathEvidence], lineages: Iterable[Lineage], data_root: Path, progress: Progress
) -> tuple[int, Difference | None]:
    """Return the number of rows that were computed and proved, and the first difference.

    lineages: those of an audit without a difference. data_root: folder of the manifests; shards are not needed.
    """
    run = {evidence.path.name: evidence for evidence in paths}
    mixes = [mix for evidence in run.values() for mix in _mixes(evidence)] + _mixed_sources(run)
    epochs = _epochs(run, lineages)
    total = sum(mix.rows for mix in mixes) + sum(epoch.rows for epoch in epochs)
    done = 0

    def advance(rows: int) -> None:
        nonlocal done
        done += rows
        progress(done, total)

    for mix in mixes:
        if (difference := _check_mix(mix, advance)) is not None:
            return 0, difference
    for number, epoch in enumerate(epochs):
        if (difference := _check_epoch(epoch, data_root, advance)) is not None:
            return sum(proved.rows for proved in epochs[:number]), difference
    return sum(epoch.rows for epoch in epochs), None


def _mixes(evidence: PathEvidence) -> Iterator[_MixedRows]:
    start = evidence.path.start
    for segment in evidence.path.segments:
        steps = min(max(evidence.chain.end - start, 0), segment.steps)
        if steps and len(segment.parts) > 1:
            counts = tuple((part.source, part.rows) for part in segment.parts)
            of_a_step = segment.rows // segment.steps
            yield _MixedRows(evidence, counts, of_a_step * steps, start, of_a_step)
        start += segment.steps


def _mixed_sources(run: Mapping[str, PathEvidence]) -> list[_MixedRows]:
    """Return one epoch of every mixture that a source of any path is."""
    found: dict[tuple[tuple[str, int], ...], PathEvidence] = {}
    for evidence in run.values():
        for facts in evidence.sources.values():
            if facts.mixture:
                found.setdefault(tuple((part.name, part.count) for part in facts.mixture), evidence)
    return [_MixedRows(evidence, counts, sum(count for _, count in counts)) for counts, evidence in found.items()]


def _epochs(run: Mapping[str, PathEvidence], lineages: Iterable[Lineage]) -> list[_EpochPrefix]:
    longest: dict[tuple[object, ...], _EpochPrefix] = {}
    for lineage in lineages:
        read = _parts_read([run[leg.path] for leg in lineage.legs])
        for used in lineage.uses:
            evidence, part = read[used.source]
            key = (part, evidence.training, used.epoch)
            if key not in longest or longest[key].rows < used.reached:
                longest[key] = _EpochPrefix(evidence, part, used.epoch, used.reached)
    return list(longest.values())


def _parts_read(lineage: Iterable[PathEvidence]) -> dict[str, tuple[PathEvidence, PartFacts]]:
    """Return set of shards -> first path of the lineage that has it, and what that says about it."""
    found: dict[str, tuple[PathEvidence, PartFacts]] = {}
    for evidence in lineage:
        for source, facts in evidence.sources.items():
            for part in facts.parts(source):
                found.setdefault(part.name, (evidence, part))
    return found


def _check_mix(mix: _MixedRows, advance: Callable[[int], None]) -> Difference | None:
    """Check that a mixture reads the rows of each part in order, each once, and as many as the audit counted."""
    mixture = Mixture([count for _, count in mix.counts])
    dealt = np.zeros(len(mix.counts), np.int64)
    for first in range(0, mix.rows, CHUNK_ROWS):
        stop = min(first + CHUNK_ROWS, mix.rows)
        parts, index = mixture.assign(np.arange(first, stop))
        counted = mixture.taken(stop)
        for number, (name, _) in enumerate(mix.counts):
            found = index[parts == number]
            wrong = np.flatnonzero(found != np.arange(dealt[number], dealt[number] + len(found)))
            dealt[number] += len(found)
            if len(wrong) or dealt[number] != counted[number]:
                what = f"the mixture does not read rows {first} to {stop} in the order of the part"
                step = None if mix.step is None else mix.step + first // mix.rows_of_a_step
                path = mix.evidence
                return Difference(what, path.path.name, path.path_json, step, name, counted[number], int(dealt[number]))
        advance(stop - first)
    return None


def _check_epoch(epoch: _EpochPrefix, data_root: Path, advance: Callable[[int], None]) -> Difference | None:
    """Check that the positions of an epoch's prefix are different rows, all of them rows of the source."""
    name, says = epoch.evidence.path.name, epoch.part
    file = manifest_path(data_root, says.name, "train")
    try:
        source = _open(epoch, file)
    except DataError as error:
        return Difference(str(error), name, file, None, says.name)
    if source.manifest.sha256 != says.manifest_sha256:
        what = "the manifest is not the one that the path was trained with"
        return Difference(what, name, file, None, says.name, says.manifest_sha256, source.manifest.sha256)
    seen = np.zeros(says.rows // 8 + 1, np.uint8)
    start = epoch.epoch * says.rows
    for first in range(0, epoch.rows, CHUNK_ROWS):
        rows = source.order(np.arange(start + first, start + min(first + CHUNK_ROWS, epoch.rows)))
        if len(wrong := np.flatnonzero(_seen_before(seen, rows) | (rows < 0) | (rows >= says.rows))):
            position, row = start + first + int(wrong[0]), int(rows[wrong[0]])
            what = f"position {position} gives a row that the source does not have, or that the epoch has given before"
            return Difference(what, name, file, None, says.name, "another row", row)
        np.bitwise_or.at(seen, rows >> 3, _bit(rows))
        advance(len(rows))
    return None


def _open(epoch: _EpochPrefix, file: Path) -> TokenSource:
    training = epoch.evidence.training
    return TokenSource(
        load_manifest(file),
        LocalFiles(file.parent),
        sequence_length=training.sequence_length,
        seed=training.seed,
        order=training.order,
        rows=epoch.part.rows,
    )


def _bit(rows: np.ndarray) -> np.ndarray:
    return np.left_shift(np.uint8(1), (rows & 7).astype(np.uint8))


def _seen_before(seen: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return for each row whether it is marked in `seen`, one bit a row, or occurs earlier in `rows`.

    Rows out of range are compared with the nearest row in range; the caller rejects them anyway.
    """
    within = np.clip(rows, 0, len(seen) * 8 - 1)
    repeated = np.ones(len(rows), bool)
    repeated[np.unique(rows, return_index=True)[1]] = False
    return repeated | (seen[within >> 3] & _bit(within) != 0)
