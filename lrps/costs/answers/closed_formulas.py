"""Closed formulas of the steps of path switching, PTFS and CPT, and the decays of a plan that they are used with.

docs/method.md, section 1.4, derives them. The script of the report's page has the same functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from math import floor

from lrps.config.strategies import PathSwitching, Strategy
from lrps.costs.planned.plan_document import ParadigmPlan


@dataclass(frozen=True)
class PlannedDecays:
    """Length of the decays of path switching, by the config and in steps."""

    alpha: float
    """Length of the decays, in the unit of `alpha_of`."""
    alpha_of: str
    """Unit of `alpha`: increment, steps-so-far, steps or tokens."""
    alpha_per_version: Mapping[str, float]
    """Values of `alpha` for single versions, by name."""
    steps: tuple[int, ...]
    """Steps of the branch of each version, oldest first; 0 for a version that the main path releases."""


@dataclass(frozen=True)
class CumulativeSteps:
    """Numbers of steps after each version, oldest first."""

    path_switching: tuple[int, ...]
    ptfs: tuple[int, ...]
    cpt: tuple[int, ...]


def planned_decays(strategy: Strategy, plan: ParadigmPlan) -> PlannedDecays | None:
    """Return the decays of path switching; None for another paradigm."""
    if not isinstance(strategy, PathSwitching):
        return None
    paths = {path.name: path for path in plan.paths}
    lengths = [
        0 if (path := paths[release.path]).kind == "main" else path.stop_step - path.start_step
        for release in plan.releases
    ]
    per_version = {name: float(alpha) for name, alpha in strategy.alpha_per_version.items()}
    return PlannedDecays(float(strategy.alpha), strategy.alpha_of, per_version, tuple(lengths))


def share_decays(alpha: Fraction, of: str, increments: Sequence[int]) -> list[int]:
    """Return the decay of each version for a share `alpha` of the increment or of the steps so far (`of`)."""
    so_far = list(accumulate(increments))
    units = increments if of == "increment" else so_far
    return [min(max(1, floor(alpha * unit + Fraction(1, 2))), steps) for unit, steps in zip(units, so_far, strict=True)]


def cumulative_steps(increments: Sequence[int], decays: Sequence[int]) -> CumulativeSteps:
    """Return the steps of the three ways of training after each version.

    The main path of path switching ends at the last fork; the branch of version k has `decays[k]` steps. A version that
    the main path itself releases has 0.
    """
    so_far = list(accumulate(increments))
    main = accumulate((stop - decay for stop, decay in zip(so_far, decays, strict=True)), max)
    return CumulativeSteps(
        path_switching=tuple(one + other for one, other in zip(main, accumulate(decays), strict=True)),
        ptfs=tuple(accumulate(so_far)),
        cpt=tuple(so_far),
    )
