"""Windows of merges: the steps whose states a merge averages, as pure functions of steps.

A merge is the plain mean of some states of a main path, evenly spread over a window of steps that ends at a given one;
docs/method.md, section 1.8, has what was measured.
"""

from __future__ import annotations

from collections.abc import Iterable

WINDOW, COUNT = 0.1, 10
"""Window of a released merge, as a share of the steps so far, and the largest number of states in it."""


def window_steps(stop: int, window: float = WINDOW) -> int:
    """Return the length of the window that ends at step `stop`, in steps: at least 2 where there are as many."""
    return min(stop, max(2, round(window * stop)))


def merge_steps(stop: int) -> tuple[int, ...]:
    """Return the steps whose states a released merge averages, in ascending order; the last one is `stop`."""
    steps = window_steps(stop)
    return tuple(sorted(_spread(stop, steps, min(COUNT, steps))))


def choose_steps(saved: Iterable[int], stop: int, window: float, count: int) -> tuple[int, ...]:
    """Return `count` of the saved steps in the window, evenly spread as far as they allow, in ascending order.

    saved: steps that have a state; `stop` must be one of them. All saved steps of the window if there are fewer than
    `count`. A saved step that is as near to its place as another, later one is not taken.
    """
    steps = window_steps(stop, window)
    left = {step for step in saved if stop - steps < step <= stop}
    chosen = []
    for place in _spread(stop, steps, count)[: len(left)]:
        nearest = min(left, key=lambda step: (abs(step - place), -step))
        left.remove(nearest)
        chosen.append(nearest)
    return tuple(sorted(chosen))


def _spread(stop: int, steps: int, count: int) -> list[int]:
    """Return `count` evenly spread steps of the window, the newest one first."""
    return [stop - i * steps // count for i in range(count)]
