"""The retention of checkpoints as pure functions of steps and times: which ones are kept, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from lrps.base.units import SECONDS_PER_HOUR
from lrps.ledger.confirmed import SavedStates


def younger(written: Mapping[int, float], now: float, keep_hours: float | None) -> dict[int, str]:
    """Return step -> reason to keep it, of the steps written less than `keep_hours` before `now` (times in seconds)."""
    if keep_hours is None:
        return {}
    seconds, why = SECONDS_PER_HOUR * keep_hours, f"younger than {keep_hours:g} h"
    return {step: why for step, when in written.items() if now - when < seconds}


def rewind_spread(saved: Iterable[int]) -> set[int]:
    """Return the steps of saved states that are kept to rewind to: one of every age from 2^i to 2^(i + 1) saves.

    saved: steps of all states that were saved, whether they are still there or not. A state that is left out stays left
    out when more are saved, so that removing the others at every save leaves what is kept.
    """
    ordered = sorted(set(saved))
    # The k-th state stays while its age in saves is below twice the largest power of two that divides k.
    return {step for k, step in enumerate(ordered, 1) if len(ordered) - k < 2 * (k & -k)}


def rewindable(steps: Iterable[int], states: SavedStates, spread: bool) -> dict[int, str]:
    """Return step -> reason to keep its checkpoint, of states that a path can go back to after a failure.

    steps: those of intact checkpoints. spread: whether older states are kept at growing distances.
    """
    there = set(steps)
    kept = dict.fromkeys(there & states.confirmed & rewind_spread(states.saved), "to rewind to") if spread else {}
    if settled := there & states.settled:
        kept[max(settled)] = "the newest confirmed one: the path goes back to it after a failure"
    return kept


def retention(
    steps: Iterable[int],
    referred: Mapping[int, str],
    keep_last: int,
    keep_every_steps: int | None = None,
    others: Mapping[int, str] = MappingProxyType({}),
) -> dict[int, str | None]:
    """Return step -> reason to keep its checkpoint, or None if it may be removed.

    steps: those of intact checkpoints. referred: step -> what needs that state, whatever the policy. others: results of
    `younger` and `rewindable`. The newest is always kept, so keep_last must be at least 1 (ValueError).
    """
    if keep_last < 1:
        raise ValueError(f"keep_last must be at least 1, not {keep_last}")
    ordered = sorted(set(steps))
    newest = set(ordered[-keep_last:])

    def reason(step: int) -> str | None:
        if step in referred:
            return referred[step]
        if step == ordered[-1]:
            return "the newest: the path resumes from it"
        if step in newest:
            return f"one of the newest {keep_last}"
        if keep_every_steps and step % keep_every_steps == 0:
            return f"a multiple of {keep_every_steps}"
        return others.get(step)

    return {step: reason(step) for step in ordered}
