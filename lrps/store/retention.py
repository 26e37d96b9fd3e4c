"""Which checkpoints of a path stay, and why: a pure function of their steps. Touches no file, imports nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def retention(
    steps: Iterable[int], referred: Mapping[int, str], keep_last: int, keep_every_steps: int | None = None
) -> dict[int, str | None]:
    """step -> why its checkpoint stays, or None: it may go.

    steps: those of checkpoints that a path could go on from. referred: step -> what needs that state, whatever the
    policy says. The newest always stays, so keep_last must be at least 1 (ValueError).
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
        return None

    return {step: reason(step) for step in ordered}
