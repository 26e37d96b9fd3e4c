"""Choice of the branch lengths of the versions to come, for a budget, with the lines of the config that make it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from lrps.base.errors import ConfigError
from lrps.config.strategies import PathSwitching
from lrps.costs.forecasts.version_forecast import Outlook, forecaster
from lrps.forecast.branch import BranchPlan
from lrps.forecast.branch_lengths import (
    Choice,
    PricedBranch,
    branches_to_try,
    candidates_of,
    check_decided,
    choose,
)
from lrps.forecast.refusal import ForecastRefused
from lrps.paths.compiler import half_up
from lrps.paths.paradigms.compile import compile_paradigm
from lrps.plan.plan import Plan

_SPEND = re.compile(r"\s*([0-9]+\.?[0-9]*|\.[0-9]+)\s*(ptfs|h|steps)?\s*")


@dataclass(frozen=True)
class ChosenVersion:
    """Branch that was chosen for a version."""

    version: str
    """Name of the version."""
    alpha: float
    """Value for the config, in the unit of its `alpha_of`."""
    steps: int
    """Number of optimizer steps of the branch."""
    fork: int
    """Step of the main path at which it forks."""
    loss: float
    """Forecast of the mean loss over the held-out sets, in nats per token."""
    half_width: float
    """Half-width of its 90 % band."""
    planned_steps: int
    """Number of steps that the config gives the branch now."""
    planned_loss: float
    """Forecast of the mean loss with these."""


@dataclass(frozen=True)
class SpendChoice:
    """Branch lengths of the versions to come that make the most of a budget."""

    FORMAT: ClassVar[str] = "lrps-forecast-spend/1"
    budget: str
    """Budget as it was stated."""
    budget_steps: float
    """Budget in optimizer steps of the whole paradigm, what is trained already included."""
    steps: int
    """Number of steps of the paradigm with the chosen branches, compiled."""
    planned_steps: int
    """Number of steps of the paradigm by the unchanged config."""
    versions: tuple[ChosenVersion, ...]
    """Chosen branches, oldest first."""
    config_lines: tuple[str, ...]
    """Lines for the config file."""


def budget_in_steps(look: Outlook, text: str) -> float:
    """Return a budget in optimizer steps: `0.52ptfs` of the steps of PTFS, `800h` device-hours, `9000steps` or money.

    Raises ConfigError for another text, and for hours or money where the run has no measured speed or no price.
    """
    found = _SPEND.fullmatch(text)
    value = float(found[1]) if found else 0.0
    if found is None or not value:
        raise ConfigError(
            f"--spend {text}: write 0.52ptfs (of the steps of PTFS), 800h, 9000steps, or an amount of money"
        )
    if found[2] == "steps":
        return value
    if found[2] == "ptfs":
        return value * sum(look.end_of(increment.version) for increment in look.plan.increments)
    hours_per_step = look.pace.hours(1)
    if not hours_per_step:
        raise ConfigError(
            f"--spend {text}: the run has no measured speed yet; state the budget as 0.52ptfs or in steps"
        )
    if found[2] == "h":
        return value / hours_per_step
    if look.price is None:
        raise ConfigError(f"--spend {text}: an amount of money needs a price of a device-hour: --price 2.5")
    return value / look.price.amount / hours_per_step


def spend_choice(look: Outlook, text: str, saved: frozenset[int], reached: int) -> SpendChoice:
    """Return the best branch lengths of the versions that are not trained, for the budget `text`.

    saved: steps of saved states of the main path. reached: step that it has reached; a fork before that must be one of
    them. Raises ForecastRefused where no branch is finished, nothing fits the budget, or the best choice is not
    clearly better than that of the config.
    """
    budget = budget_in_steps(look, text)
    if not look.trained:
        raise ForecastRefused(
            "history", "lengths are chosen only after a branch was finished and evaluated: run v1 first"
        )
    first, branches = look.next_version(), look.switching.branches
    versions = [version for version in branches if version == first or version not in look.trained]
    trained = sum(branches[version].steps for version in look.trained)
    base = look.end_of(look.plan.increments[-1].version) + trained
    # The shape is one key for all branches, and trained ones have it.
    best = choose([_candidates(look, version, saved, reached) for version in versions], budget - base)
    default = _default(look, versions)
    check_decided(best, default)
    return _document(look, text, budget, versions, best, default)


def _candidates(look: Outlook, version: str, saved: frozenset[int], reached: int) -> list[PricedBranch]:
    forecast = forecaster(look, version)

    def mean(branch: BranchPlan) -> tuple[float, float]:
        found = forecast(branch).values()
        return sum(each.loss for each in found) / len(found), sum(each.half_width for each in found) / len(found)

    branches = branches_to_try(
        look.end_of(version),
        reached=reached,
        saved=saved,
        shapes=(look.switching.strategy.decay,),
        final=look.switching.final,
    )
    return candidates_of(branches, mean, lambda branch: _cost(look, version, branch, reached))


def _cost(look: Outlook, version: str, branch: BranchPlan, reached: int) -> float:
    """Return the steps of a branch beyond a main path to the end of the last version.

    The newest branch replaces steps of the main path, except where it forks before steps that the main path takes for
    an earlier version; those end where the increment before it ends, at the latest.
    """
    if version != look.plan.increments[-1].version:
        return float(branch.steps)
    before = look.end_of(version) - look.steps_of(version)
    return float(max(0, max(reached, before) - branch.fork))


def _default(look: Outlook, versions: list[str]) -> Choice:
    """Return the branches of the config with their forecasts."""
    found = []
    for version in versions:
        path = look.switching.branches[version]
        branch = BranchPlan(path.start, path.steps, look.switching.strategy.decay, final=look.switching.final)
        losses = forecaster(look, version)(branch).values()
        mean, width = (
            sum(values) / len(losses) for values in ([e.loss for e in losses], [e.half_width for e in losses])
        )
        found.append(PricedBranch(branch, mean, width, _cost(look, version, branch, 0)))
    return Choice(tuple(found), sum(each.cost for each in found), sum(each.loss for each in found))


def _document(
    look: Outlook, text: str, budget: float, versions: list[str], best: Choice, default: Choice
) -> SpendChoice:
    alphas = {
        version: alpha_for(look.unit_of(version), each.branch.steps)
        for version, each in zip(versions, best.candidates, strict=True)
    }
    name = look.switching.paradigm.name
    compiled = compiled_steps(look.plan, name, alphas)
    if compiled > budget:
        raise ForecastRefused(
            "budget", f"with these branches the plan has {compiled:,} steps, more than the budget of {budget:,.0f}"
        )
    chosen = tuple(
        ChosenVersion(
            version, alphas[version], one.branch.steps, one.branch.fork, one.loss, one.half_width,
            other.branch.steps, other.loss,
        )
        for version, one, other in zip(versions, best.candidates, default.candidates, strict=True)
    )  # fmt: skip
    # The line replaces the whole key, so that it repeats what the config says of other versions.
    whole = {**look.switching.strategy.alpha_per_version, **alphas}
    values = ", ".join(f"{version}: {alpha!r}" for version, alpha in whole.items())
    lines = ("paradigms:", f"  {name}:", f"    alpha_per_version: {{{values}}}")
    return SpendChoice(text, budget, compiled, look.switching.paradigm.total_steps, chosen, lines)


def alpha_for(unit: Fraction, steps: int) -> float:
    """Return the shortest decimal that the compiler turns into exactly this many steps.

    unit: number of steps of alpha = 1.
    """
    for digits in range(1, 16):
        alpha = float(round(Fraction(steps) / unit, digits))
        length = Fraction(str(alpha)) * unit
        if alpha and half_up(length.numerator, length.denominator) == steps:
            return alpha
    raise AssertionError(f"no decimal gives {steps} steps in units of {unit}")


def compiled_steps(plan: Plan, paradigm: str, alphas: Mapping[str, float]) -> int:
    """Return the number of steps of a paradigm whose branches have other lengths."""
    strategy = plan.config.paradigms[paradigm]
    assert isinstance(strategy, PathSwitching)
    update = {"alpha_per_version": {**strategy.alpha_per_version, **alphas}}
    paradigms = {**plan.config.paradigms, paradigm: strategy.model_copy(update=update)}
    config = plan.config.model_copy(update={"paradigms": paradigms})
    return compile_paradigm(config, paradigm, plan.increments, plan.rehearsal).total_steps
