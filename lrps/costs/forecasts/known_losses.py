"""Known losses of a path switching run, by held-out set, as lrps.forecast takes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lrps.base.errors import ConfigError
from lrps.config.strategies import PathSwitching
from lrps.costs.curves.heldout_curve import HeldoutCurve
from lrps.costs.forecasts.planned_decay import planned_decay
from lrps.forecast import Branch
from lrps.forecast.branch import BranchPlan
from lrps.forecast.main_curve import Point
from lrps.forecast.refusal import ForecastRefused
from lrps.paths.amendments import in_force
from lrps.paths.graph import Paradigm, TrainingPath
from lrps.plan.plan import Plan

FEWEST_STEPS = 600
"""Number of steps of an increment below which nothing is forecast: the fit begins at step 1,000."""

AT_THE_END = 0.1
"""Share of an increment, at its end, in which an evaluation of the main path counts as one at the end."""


@dataclass(frozen=True)
class Switching:
    """Path switching of a plan: its main path, its branches, and the decay that the config gives them."""

    paradigm: Paradigm
    """Paradigm with its releases."""
    strategy: PathSwitching
    """Section of the config."""
    main: TrainingPath
    """Main path."""
    branches: Mapping[str, TrainingPath]
    """Branches by the version that they release, oldest first."""
    final: float
    """Rate at the end of a decay as a share of the peak."""
    others: tuple[str, ...]
    """Names of the plan's other paradigms of path switching."""


@dataclass(frozen=True)
class KnownLosses:
    """Losses on one held-out set that a forecast is based on."""

    main: tuple[Point, ...]
    """Steps and losses of the main path."""
    branches: tuple[Branch, ...]
    """Finished branches, oldest first."""


def switching_names(plan: Plan) -> tuple[str, ...]:
    """Return the names of the paradigms of path switching that have branches, in the order of the config."""
    return tuple(each.name for each in plan.graph.paradigms if each.kind == "path-switching" and _branches(plan, each))


def _branches(plan: Plan, paradigm: Paradigm) -> dict[str, TrainingPath]:
    """Return version -> the path that forks from the main path to release it."""
    by_name = plan.graph.by_name
    return {each.version: by_name[each.path] for each in paradigm.releases if by_name[each.path].parent}


def switching_of(plan: Plan, name: str | None = None) -> Switching:
    """Return the path switching of a plan: the paradigm `name`, or the first that has branches.

    Raises ConfigError if there is none.
    """
    names = switching_names(plan)
    name = name or next(iter(names), None)
    if name not in names:
        has = f"; the config has {', '.join(names)}" if names else ""
        which = "the config has none" if name is None else f"{name} is none"
        raise ConfigError(
            f"a forecast needs a paradigm of the kind path-switching with branches that fork from a main path, and "
            f"{which}{has}"
        )
    paradigm = next(each for each in plan.graph.paradigms if each.name == name)
    strategy = plan.config.paradigms[name]
    assert isinstance(strategy, PathSwitching)
    branches = _branches(plan, paradigm)
    (main,) = {path.parent.path for path in branches.values() if path.parent}
    others = tuple(each for each in names if each != name)
    return Switching(paradigm, strategy, plan.graph.by_name[main], branches, planned_decay(plan, name)[1], others)


def optimizer_remark(kind: str | None) -> str:
    """Return the sentence on a law that was fitted with another optimizer; empty for AdamW. kind: None for AdamW."""
    if kind is None:
        return ""
    return (
        f"The law of the forecasts was fitted to runs with AdamW and was not tested with {kind}: trust it once it has "
        "met some branches of this run (the track record has forecasts beside measured losses)."
    )


def check_law(plan: Plan, switching: Switching, version: str) -> None:
    """Raise ForecastRefused for a version that adds too few steps, and for a main path whose rate is not constant or
    whose optimizer changed."""
    if plan.config.schedule.power_coefficient is not None:
        raise ForecastRefused(
            "schedule", "schedule.power_coefficient: the law was tested on main paths at one constant rate only"
        )
    amendments = [each for _, each in in_force(switching.main.amendments)]
    if any(each.peak_lr is not None for each in amendments):
        raise ForecastRefused(
            "schedule",
            f"{switching.main.name} was taken back with another peak rate: the law holds for one constant rate only",
        )
    if any(each.clip_grad_norm is not None for each in amendments):
        raise ForecastRefused(
            "optimizer",
            f"{switching.main.name} was taken back with another clip_grad_norm: the law holds for one optimizer only, "
            "and clipping is part of it",
        )
    steps = next(each.steps for each in plan.increments if each.version == version)
    if steps < FEWEST_STEPS:
        raise ForecastRefused(
            "version-steps",
            f"version {version} adds {steps:,} steps, and a forecast needs about {FEWEST_STEPS}: the curve of the main "
            "path is fitted from step 1,000 on, and the losses of so short a run wobble by more than versions differ",
        )


def planned_branch(plan: Plan, paradigm: str, path: TrainingPath) -> BranchPlan:
    """Return the fork, length and shape of a branch of path switching."""
    shape, final = planned_decay(plan, paradigm)
    return BranchPlan(path.start, path.steps, shape, final=final)


def known_losses(
    switching: Switching,
    curve: HeldoutCurve,
    until: TrainingPath,
    last: int,
    trained: bool,
    recorded: Mapping[str, int],
) -> dict[str, KnownLosses]:
    """Return the known losses by held-out set, for the forecast of a branch.

    until: the branch that is forecast; of the others those count that `ends_before` has. Branches of a history of the
    main path that was abandoned are left out. last: step at which the version's
    increment ends; what the main path reads after it is no text of the version. trained: whether the branch is trained.
    The main path then counts up to its fork only, or to the step that was known when the branch began, if that was
    recorded. recorded: held-out set -> that step.
    """
    points: dict[str, list[Point]] = {}
    for point in curve.points:
        if point.step <= (recorded.get(point.version, until.start) if trained else last):
            points.setdefault(point.version, []).append((point.step, point.loss))
    decay = switching.strategy.decay
    history: dict[str, list[Branch]] = {}
    for end in sorted(curve.branch_ends, key=lambda each: each.step):
        path = switching.branches.get(end.released)
        if path is None or path.name != end.path or end.other_parent is not None:
            continue
        if ends_before(path, until, trained):
            branch = Branch(path.start, path.steps, decay, end.loss, final=switching.final)
            history.setdefault(end.version, []).append(branch)
    return {
        version: KnownLosses(tuple(sorted(found)), tuple(history.get(version, ()))) for version, found in points.items()
    }


def ends_before(path: TrainingPath, until: TrainingPath, trained: bool) -> bool:
    """Return whether a branch counts for the forecast of another: it ends earlier.

    trained: whether the other one is trained; it must then fork no earlier, as only what was finished when it began
    was known.
    """
    return path.stop < until.stop and (path.start <= until.start or not trained)


def losses_at_end(curve: HeldoutCurve, begin: int, end: int) -> dict[str, float]:
    """Return held-out set -> loss of the main path at the end of an increment from step `begin` to `end`.

    That is the last evaluation within the last tenth of the increment; sets without one are left out.
    """
    first = end - AT_THE_END * (end - begin)
    return {point.version: point.loss for point in curve.points if first <= point.step <= end}
