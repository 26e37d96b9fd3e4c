"""Amendments of paths in documents: when and why `lrps rewind` took a path back, and what it changed."""

from __future__ import annotations

from dataclasses import dataclass

from lrps.paths.amendments import in_force
from lrps.paths.graph import TrainingPath


@dataclass(frozen=True)
class SkippedRange:
    """Optimizer steps of a lineage; step s leads from the state of step s to that of step s + 1."""

    first: int
    """First step."""
    last: int
    """Last step, included."""


@dataclass(frozen=True)
class PathAmendment:
    """Change of a path from a step on, to whose state `lrps rewind` took it back."""

    number: int
    """Number among the amendments of the path, from 1 in the order of their rewinds."""
    at: int
    """Lineage step of the state that the path was taken back to."""
    when: str | None
    """Time of the rewind, in ISO 8601; null if it is not recorded."""
    reason: str | None
    """Reason that was given; null if there is none."""
    peak_lr: float | None
    """Learning rate in place of the path's peak; rates below the peak change in proportion. Null: not changed."""
    for_steps: int | None
    """Number of steps for which `peak_lr` is in force; null for good."""
    clip_grad_norm: float | None
    """Largest norm of the gradient in place of that of the config; null: not changed."""
    skipped: SkippedRange | None
    """Steps that pass without an update; null if none do."""
    in_force: bool
    """False if a later rewind went as far back and ended the amendment."""


def path_amendments(path: TrainingPath) -> tuple[PathAmendment, ...]:
    """Return all amendments of a path, oldest first, with those that a later one has ended."""
    numbers = {number for number, _ in in_force(path.amendments)}
    return tuple(
        PathAmendment(
            number=number,
            at=each.at,
            when=each.when or None,
            reason=each.reason or None,
            peak_lr=each.peak_lr,
            for_steps=each.for_steps,
            clip_grad_norm=each.clip_grad_norm,
            skipped=SkippedRange(each.skipped.start, each.skipped.stop - 1) if each.skip else None,
            in_force=number in numbers,
        )
        for number, each in enumerate(path.amendments, 1)
    )
