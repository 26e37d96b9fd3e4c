"""Effects of taking a path back, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from lrps.base.numbers import count, device_time, size
from lrps.base.units import hours
from lrps.paths.amendments import Amendment
from lrps.plan.rewind import Rewind


def rewind_lines(rewind: Rewind, clip_grad_norm: float | None) -> list[str]:
    """Return what a rewind does, a sentence a line. clip_grad_norm: that of the config."""
    return [
        _headline(rewind),
        *_moved(rewind),
        *(f"  {line}" for line in _changes(rewind.amendment, clip_grad_norm)),
        *(f"  {line}" for line in _affected(rewind)),
    ]


def _headline(rewind: Rewind) -> str:
    name, at = rewind.path.name, rewind.amendment.at
    if rewind.done:
        return f"{name} is at step {at} already, with this amendment, its number {rewind.number}"
    return f"{name} goes back to its state of step {at}: amendment {rewind.number}"


def _moved(rewind: Rewind) -> Iterator[str]:
    if rewind.states:
        steps = ", ".join(str(state.step) for state in sorted(rewind.states, key=lambda state: state.step))
        taken = size(sum(state.bytes for state in rewind.states))
        where = f"{rewind.path.name}/abandoned/{rewind.number}"
        yield f"  states of steps {steps} ({taken}) move to {where}; nothing is deleted"
    if rewind.abandoned_steps:
        cost = device_time(hours(rewind.abandoned_seconds))
        yield f"  {count(rewind.abandoned_steps)} steps are abandoned, {cost} of device time: waste, cause rewind"


def _changes(amendment: Amendment, clip_grad_norm: float | None) -> Iterator[str]:
    """Yield what an amendment changes, a sentence each."""
    if amendment.skip:
        skipped = amendment.skipped
        yield (
            f"steps {skipped.start} to {skipped.stop - 1} pass without an update: their sequences are not trained on"
        )
    if amendment.peak_lr is not None:
        long = "for good" if amendment.for_steps is None else f"for {count(amendment.for_steps)} steps"
        yield f"the peak learning rate is {amendment.peak_lr:g} from step {amendment.at} on, {long}"
    if amendment.clip_grad_norm is not None:
        before = "none" if clip_grad_norm is None else f"{clip_grad_norm:g}"
        yield f"gradients are clipped to a norm of {amendment.clip_grad_norm:g} instead of {before}"


def _affected(rewind: Rewind) -> Iterator[str]:
    parent = rewind.path.name
    for each in rewind.affected:
        if each.begun:
            yield (
                f"{each.path.name}, forked from {parent} at step {each.path.start}, stays as it is, marked as forked "
                f"before amendment {rewind.number}; to have it anew, move its directory away"
            )
    new = [f"{each.path.name} at step {each.path.start}" for each in rewind.affected if not each.begun]
    if new:
        yield f"from the new history will fork: {', '.join(new)}"
