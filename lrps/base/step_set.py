"""Sets of optimizer steps of a lineage, as few ranges: step s leads from the state of step s to that of step s + 1."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class StepSet:
    """A set of steps. Ranges (first, last) ascend, include both ends, and are as few as possible.

    Make one with `StepSet.of`. Equal sets have equal ranges.
    """

    ranges: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, ranges: Iterable[Sequence[int]]) -> StepSet:
        """Return the union of ranges (first, last) in any order, as `to_json` gives them. ValueError for others."""
        merged: list[tuple[int, int]] = []
        for first, last in sorted(map(tuple, ranges)):
            if not 0 <= first <= last:
                raise ValueError(f"steps {first} to {last} are no range")
            if merged and first <= merged[-1][1] + 1:
                merged[-1] = merged[-1][0], max(last, merged[-1][1])
            else:
                merged.append((first, last))
        return cls(tuple(merged))

    def __contains__(self, step: object) -> bool:
        return isinstance(step, int) and any(first <= step <= last for first, last in self.ranges)

    def __iter__(self) -> Iterator[int]:
        return (step for first, last in self.ranges for step in range(first, last + 1))

    def __len__(self) -> int:
        return sum(last + 1 - first for first, last in self.ranges)

    def __or__(self, other: StepSet) -> StepSet:
        return StepSet.of((*self.ranges, *other.ranges))

    def within(self, start: int, stop: int) -> StepSet:
        """Return the steps of this set in [start, stop)."""
        cut = ((max(first, start), min(last, stop - 1)) for first, last in self.ranges)
        return StepSet(tuple((first, last) for first, last in cut if first <= last))

    def to_json(self) -> list[list[int]]:
        """Return the ranges as JSON: [[first, last], ..]."""
        return [list(each) for each in self.ranges]


NO_STEPS = StepSet()
