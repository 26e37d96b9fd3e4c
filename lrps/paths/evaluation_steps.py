"""Steps at which a main path is evaluated while it is trained: a pure function of the plan's numbers.

These evaluations are taken when training passes a step. They are never missing: a path without them is complete.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Literal

MOST_POINTS = 10
"""Largest number of evenly spaced steps of an increment that `auto` chooses."""
LARGEST_SHARE = Fraction(1, 100)
"""Largest share of an increment's steps that the evaluations of `auto` may cost together."""

Every = int | float | Literal["auto"] | None
"""Value of `evaluation.main_every_steps`."""


def evaluation_steps(
    edges: Sequence[int], forks: Collection[int], every: Every, cost: Callable[[int], Fraction]
) -> tuple[int, ...]:
    """Return the steps of a main path after which it is evaluated, in ascending order, up to the last edge.

    edges: 0, then the step at which each increment ends. forks: steps at which other paths fork from it. every: a
    number of steps, a share of every increment, `auto` or None for no step. cost: cost of an evaluation after a step,
    in optimizer steps. Forks are always among the steps; `auto` adds the largest number of evenly spaced steps for
    which all evaluations within an increment cost at most 1 % of its steps.
    """
    if every is None:
        return ()
    points = {step for step in forks if step > 0}
    if isinstance(every, int):
        points.update(range(every, edges[-1] + 1, every))
        return tuple(sorted(points))
    ascending = sorted(points)
    for start, stop in pairwise(edges):
        own = ascending[bisect_right(ascending, start) : bisect_right(ascending, stop)]
        points |= _affordable(start, stop, own, cost) if every == "auto" else _spaced(start, stop, every)
    return tuple(sorted(points))


def _spaced(start: int, stop: int, share: float) -> set[int]:
    """Return the steps after every `share` of the steps from `start` to `stop`, rounded down, at most every step."""
    distance = max(Fraction(str(share)) * (stop - start), Fraction(1))
    return {start + int(i * distance) for i in range(1, int((stop - start) / distance) + 1)}


def _affordable(start: int, stop: int, forks: Collection[int], cost: Callable[[int], Fraction]) -> set[int]:
    """Return the largest set of evenly spaced steps that costs at most the share together with the forks."""
    most = LARGEST_SHARE * (stop - start)
    sets = (set(_even(start, stop, number)) for number in range(min(MOST_POINTS, stop - start), 0, -1))
    return next((even for even in sets if sum(cost(step) for step in even.union(forks)) <= most), set())


def _even(start: int, stop: int, number: int) -> Iterator[int]:
    return (start + (stop - start) * i // number for i in range(1, number + 1))
