"""Loss on a held-out set, of released versions and of the model that a plan starts from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lrps.ledger.reader import HeldoutEvaluation
from lrps.plan.initial_evaluation import initial_evaluations
from lrps.plan.plan import Plan
from lrps.plan.status import PathStatus


@dataclass(frozen=True)
class HeldoutLoss:
    """Loss of a released version, or of the model that the plan starts from, on the held-out set of one version."""

    manifest_sha256: str
    """SHA-256 of the manifest of the held-out set."""
    loss: float
    """Loss in nats per predicted token."""
    bits_per_byte: float
    """Loss in bits per byte of text, which does not depend on the tokenizer."""
    rows: int
    """Number of sequences of the held-out set."""
    tokens: int
    """Number of predicted tokens of these sequences."""


def heldout_loss(found: HeldoutEvaluation) -> HeldoutLoss:
    """Return the loss of an evaluation in the ledger."""
    return HeldoutLoss(found.manifest_sha256, found.loss, found.bits_per_byte, found.rows, found.tokens)


def mean_over_sets(values: Iterable[float | None]) -> float | None:
    """Return the mean of the values of held-out sets, added in their order; None if one is not known, or there is none.

    values: those of all sets that the mean is over, in the order of the plan.
    """
    found = list(values)
    known = [value for value in found if value is not None]
    return sum(known) / len(known) if known and len(known) == len(found) else None


def mean_loss(heldout: Mapping[str, HeldoutLoss], versions: Sequence[str]) -> float | None:
    """Return the mean loss over the held-out sets of these versions; None while one is missing."""
    return mean_over_sets(heldout[version].loss if version in heldout else None for version in versions)


def initial_heldout(plan: Plan, statuses: Iterable[PathStatus]) -> dict[str, HeldoutLoss] | None:
    """Return held-out version -> loss of the model that the plan starts from, in the order of the versions.

    Held-out sets on which it was not evaluated are left out. None if the weights are drawn from the seed.
    """
    if not plan.config.model.is_given:
        return None
    found = initial_evaluations(plan, statuses)
    return {each.version: heldout_loss(found[each.version]) for each in plan.increments if each.version in found}
