"""Digest of the path up to a step: what a state was trained with, as recorded beside it.

Checkpoints and starts of attempts carry it, so that the audit can prove that their rates and data are those of
path.json. It is computed from the definition of the path, never from evaluated rates, whose last bit may differ
between machines: the parameters of the pieces of a schedule determine its rates exactly.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lrps.paths.amendments import in_force
from lrps.paths.graph import TrainingPath

PATH_DIGEST = "path_digest"
"""Key of the digest in a checkpoint's identity and in the ledger's start records."""
_KINDS = {
    "parent": "the history of its parent",
    "rates": "the learning rates",
    "data": "the rows that were read",
    "amendments": "the amendments (`lrps rewind`)",
}
"""Words for each hash of a digest."""


@dataclass(frozen=True)
class PathDigest:
    """SHA-256 hashes over what a path trained up to a step, one for each kind of difference.

    Names and kinds of paths do not count. What determines training and has no hash here is in the training digest:
    model, optimizer, batch, seed.
    """

    parent: str | None
    """Hash over the digest of the parent at the fork, the step of the fork and what it does with the optimizer; None
    for a path that starts from the initial weights."""
    rates: str
    """Hash over the learning rates of the path's own steps, as pieces of the schedule."""
    data: str
    """Hash over the ranges of rows that the path's own steps read, and the number of rows of a step."""
    amendments: str | None = None
    """Hash over the numbers and values of the path's amendments before the step; None if there are none."""

    def to_json(self) -> dict[str, str | None]:
        """Return the recorded form of the digest. Without amendments their key is left out."""
        values = asdict(self)
        return values if self.amendments else {key: each for key, each in values.items() if key != "amendments"}


def path_digest(path: TrainingPath, step: int, parent: PathDigest | None) -> PathDigest:
    """Return the digest of a path up to lineage step `step`. It takes time by the segment, not by the step.

    A path that grows keeps the digests of its earlier steps. parent: digest of the parent path at the fork; None for a
    path without one. Raises ValueError for a step outside the path, or without the digest of a parent.
    """
    if not path.start <= step <= path.stop:
        raise ValueError(f"{path.name}: step {step} is not one of steps {path.start} to {path.stop}")
    if (parent is None) != (path.parent is None):
        raise ValueError(f"{path.name}: forks from {path.parent}, but the digest there is {parent}")
    amended = [[number, *each.changed] for number, each in in_force(path.amendments) if each.at < step]
    return PathDigest(
        None if parent is None or path.parent is None else _hash([parent.to_json(), path.start, path.parent.optimizer]),
        _hash(list(_rates(path, step))),
        _hash(list(_ranges(path, step))),
        _hash(amended) if amended else None,
    )


def differences(recorded: Any, planned: PathDigest) -> list[str]:
    """Return what a recorded digest and a computed one differ in, in words; nothing if none was recorded (None)."""
    if recorded is None:
        return []
    if not isinstance(recorded, dict):
        return ["the digest of the path, which is none"]
    values = planned.to_json()
    keys = dict.fromkeys([*values, *recorded])
    return [_KINDS.get(key, key) for key in keys if recorded.get(key, "") != values.get(key, "")]


def lineage_digest(lineage: Sequence[TrainingPath], step: int) -> PathDigest:
    """Return the digest of the last path of a lineage up to `step`.

    lineage: the path and its ancestors, oldest first, each in the history that the next one forked from.
    """
    digest = None
    for path, stop in zip(lineage, [*(child.start for child in lineage[1:]), step], strict=True):
        digest = path_digest(path, stop, digest)
    assert digest is not None, "a lineage has at least one path"
    return digest


def _rates(path: TrainingPath, step: int) -> Iterator[list[Any]]:
    """Yield the pieces that determine the rates of steps [path.start, step)."""
    yield [path.start, step]
    for piece in path.rates.base.clipped(path.start, step) if step > path.start else ():
        # As float, because a rate that was given as a whole number is the same rate.
        yield [piece.shape, piece.start, piece.stop, *map(float, (piece.lr_start, piece.lr_stop, piece.coefficient))]


def _ranges(path: TrainingPath, step: int) -> Iterator[list[Any]]:
    """Yield the data of steps [path.start, step): the steps, the rows of a step, and the ranges that they read.

    Of a mixed segment these are its whole ranges, because they decide how its rows are mixed.
    """
    start = path.start
    for segment in path.segments:
        taken = min(step - start, segment.steps)
        if taken <= 0:
            return
        dealt = segment if len(segment.parts) > 1 else segment.first(taken)
        ranges = [[part.source, part.from_row, part.rows] for part in dealt.parts]
        yield [taken, segment.rows // segment.steps, dealt.steps, ranges]
        start += segment.steps


def _hash(values: list[Any]) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()
