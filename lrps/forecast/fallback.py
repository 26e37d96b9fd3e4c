"""Forecast where the law is refused for drift: the main path at the end of the increment less the last version's gain.

The main path has read the whole text there, which the next version needs anyway. Nothing of the law is used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

FALLBACK_HALF_WIDTH = 0.07
"""Half-width of the 90 % band in nats a token; the mean error in tests was .03."""

Role = Literal["new", "previous", "older", "next"]
"""Role of a held-out set for a version: its own text, that of the version before, of older ones, or of the next one."""


@dataclass(frozen=True)
class VersionLosses:
    """Losses at the end of a version's increment, by held-out set."""

    version: str
    """Name of the version."""
    main: Mapping[str, float]
    """Losses of the main path at the end of the increment, in nats a token."""
    branch: Mapping[str, float]
    """Losses of the version's finished branch; empty before it is finished."""


@dataclass(frozen=True)
class Fallback:
    """Forecast from the end of the increment, and how good it was for earlier versions of the run."""

    loss: float
    """Forecast loss in nats per predicted token."""
    half_width: float
    """Half-width of its 90 % band, in nats per token."""
    main_loss: float
    """Loss of the main path at the end of the increment."""
    gain: float
    """Gain of the last version over the main path at the end of its increment, on held-out sets of the same role."""
    role: Role
    """Role of the held-out set: new, previous, older or next text."""
    of_version: str
    """Version whose gain it is."""
    checked: int
    """Number of measured losses of earlier versions, on sets of the same role, that it was applied to."""
    mean_error: float | None
    """Mean size of its errors there, in nats per token; null if there are none."""


def role_of(order: Sequence[str], version: str, heldout: str) -> Role:
    """Return the role of a held-out set for a version. order: names of all versions, oldest first."""
    distance = order.index(version) - order.index(heldout)
    if distance < 0:
        return "next"
    return "new" if distance == 0 else "previous" if distance == 1 else "older"


def fallback(order: Sequence[str], versions: Sequence[VersionLosses], version: str, heldout: str) -> Fallback | None:
    """Return the fallback for a version on a held-out set.

    order: names of all versions, oldest first. versions: what is known of them, in the same order. None if the main
    path was not evaluated on the set at the end of the increment, or no earlier version has a gain on a set of the same
    role.
    """
    role = role_of(order, version, heldout)
    found = _applied(order, versions, version, heldout)
    if found is None:
        return None
    main_loss, gain, of_version = found
    errors = [
        abs(loss - (earlier[0] - earlier[1]))
        for each in versions
        if order.index(each.version) < order.index(version)
        for other, loss in each.branch.items()
        if role_of(order, each.version, other) == role
        and (earlier := _applied(order, versions, each.version, other)) is not None
    ]
    mean_error = fmean(errors) if errors else None
    loss = main_loss - gain
    return Fallback(loss, FALLBACK_HALF_WIDTH, main_loss, gain, role, of_version, len(errors), mean_error)


def _applied(
    order: Sequence[str], versions: Sequence[VersionLosses], version: str, heldout: str
) -> tuple[float, float, str] | None:
    """Return the main path's loss at the end of the increment, the gain, and the version that it is of."""
    known = {each.version: each for each in versions}
    role = role_of(order, version, heldout)
    if version not in known or heldout not in known[version].main:
        return None
    for earlier in reversed(order[: order.index(version)]):
        gains = _gains(order, known[earlier], role) if earlier in known else []
        if gains:
            return known[version].main[heldout], fmean(gains), earlier
    return None


def _gains(order: Sequence[str], losses: VersionLosses, role: Role) -> list[float]:
    """Return the gains of a version's branch over the main path on the held-out sets of a role."""
    return [
        losses.main[heldout] - loss
        for heldout, loss in losses.branch.items()
        if heldout in losses.main and role_of(order, losses.version, heldout) == role
    ]
