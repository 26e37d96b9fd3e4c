"""Which checkpoints of a path stay, and why: pure functions of steps and times. Touches no file, imports nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType


def younger(written: Mapping[int, float], now: float, keep_hours: float | None) -> dict[int, str]:
    """step -> why it stays, of the steps that were written less than `keep_hours` before `now` (times in seconds)."""
    if keep_hours is None:
        return {}
    return {step: f"younger than {keep_hours:g} h" for step, when in written.items() if now - when < 3600 * keep_hours}


def retention(
    steps: Iterable[int],
    referred: Mapping[int, str],
    keep_last: int,
    keep_every_steps: int | None = None,
    young: Mapping[int, str] = MappingProxyType({}),
) -> dict[int, str | None]:
    """step -> why its checkpoint stays, or None: it may go.

    steps: those of checkpoints that a path could go on from. referred: step -> what needs that state, whatever the
    policy says. young: what `younger` says. The newest always stays, so keep_last must be at least 1 (ValueError).
    """
    if keep_last < 1:
        raise ValueError(f"keep_last must be at least 1, not {keep_last}")
    ordered = sorted(set(steps))
    newest = set(ordered[-keep_last:])

    def reason(step: int) -> str | None:
        if step in referred:
            return referred[step]
        if step == ordered[-1]:
            return "the newest: the path goes on from it"
        if step in newest:
            return f"one of the newest {keep_last}"
        if keep_every_steps and step % keep_every_steps == 0:
            return f"a multiple of {keep_every_steps}"
        return young.get(step)

    return {step: reason(step) for step in ordered}
