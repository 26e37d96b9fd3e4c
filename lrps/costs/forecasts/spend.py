"""Choice of the branch lengths of the versions to come, for a budget, with the lines of the config that make it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import ClassVar

from lrps.base.document import OPTIONAL
from lrps.base.errors import ConfigError
from lrps.config.strategies import PathSwitching
from lrps.costs.forecasts.known_losses import optimizer_remark, planned_branch
from lrps.costs.forecasts.version_forecast import Outlook, forecaster, sets_with_a_branch
from lrps.forecast import mean_forecast
from lrps.forecast.branch import BranchPlan
from lrps.forecast.branch_lengths import (
    Choice,
    PossibleBranch,
    branches_to_try,
    check_decided,
    choose,
    possible_branches,
)
from lrps.forecast.refusal import ForecastRefused
from lrps.paths.compiler import half_up
from lrps.paths.optimizer_states import other_than_adamw
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
    planned_loss: float | None
    """Forecast of the mean loss with these; null if it is refused."""


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
    remarks: tuple[str, ...] = field(default=(), metadata=OPTIONAL)
    """Sentences about what the choice leaves out, and about differences below the band of the forecast."""


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
    clearly better than that of the config and the config's fits the budget too.
    """
    budget = budget_in_steps(look, text)
    if not look.trained - look.abandoned.keys():
        raise ForecastRefused(
            "history", "lengths are chosen only after a branch was finished and evaluated: run v1 first"
        )
    look.next_version()  # Raises ConfigError where no version is to come.
    branches = look.switching.branches
    versions = [version for version in branches if version not in look.trained]
    trained = sum(branches[version].steps for version in look.trained)
    floor = max(reached, _needed(look))
    if floor + trained > budget:
        raise ForecastRefused(
            "budget",
            f"the main path and the trained branches alone take {floor + trained:,} steps, more than the budget of "
            f"{budget:,.0f}",
        )
    # The shape is one key for all branches, and trained ones have it.
    best = choose([_possible(look, version, saved, reached) for version in versions], floor, budget - trained)
    planned = {version: _planned(look, version) for version in versions}
    fits = look.switching.paradigm.total_steps <= budget
    remarks = (
        _left_out(look, versions),
        _undecided(best, planned, fits),
        _earlier_end(look, best),
        optimizer_remark(other_than_adamw(look.plan.config.optimizer.kind)),
    )
    return _document(look, text, budget, best, planned, tuple(line for line in remarks if line))


def _needed(look: Outlook) -> int:
    """Return the step that the main path reaches for its own releases and for the forks of trained branches."""
    switching = look.switching
    own = (release.step for release in switching.paradigm.releases if release.path == switching.main.name)
    return max((*own, *(switching.branches[version].start for version in look.trained)), default=0)


def _undecided(best: Choice, planned: Mapping[str, PossibleBranch | None], fits: bool) -> str | None:
    """Return the remark on a choice that differs from the config's by less than the band; None if it differs by more.

    planned: branches of the config by version, None where the forecast is refused. fits: whether the config's fit the
    budget; then such a choice is refused.
    """
    known = tuple(each for each in planned.values() if each is not None)
    if len(known) < len(planned):
        return "The config's own branches cannot all be forecast, so that the choice is not compared with them."
    try:
        check_decided(best, Choice(known, max(each.branch.fork for each in known)))
    except ForecastRefused as undecided:
        if fits:
            raise
        return f"The config's own branches do not fit the budget, but {undecided}."
    return None


def _earlier_end(look: Outlook, best: Choice) -> str | None:
    """Return the remark on a main path that ends earlier than the config's; None for any other."""
    now, last = look.switching.main.stop, list(look.switching.branches)[-1]
    if best.main_stop >= now:
        return None
    return (
        f"The main path ends at step {best.main_stop:,} instead of {now:,}; a version after {last} would train these "
        f"{now - best.main_stop:,} steps first."
    )


def _left_out(look: Outlook, versions: Sequence[str]) -> str | None:
    """Return the remark on the held-out sets that no length is chosen by; None if there are none."""
    order = [increment.version for increment in look.plan.increments]
    found = {
        version: [each for each in order[: order.index(version) + 1] if each not in sets_with_a_branch(look, version)]
        for version in versions
    }
    words = "; ".join(f"{', '.join(sets)} for {version}" for version, sets in found.items() if sets)
    return f"Held-out sets left out, as no finished branch has a loss on them: {words}." if words else None


def _possible(look: Outlook, version: str, saved: frozenset[int], reached: int) -> list[PossibleBranch]:
    branches = branches_to_try(
        look.end_of(version),
        reached=reached,
        saved=saved,
        shapes=(look.switching.strategy.decay,),
        final=look.switching.final,
    )
    return possible_branches(branches, _mean_forecaster(look, version))


def _mean_forecaster(look: Outlook, version: str) -> Callable[[BranchPlan], tuple[float, float]]:
    """Return the function from a branch to the means of its loss and half-width over the sets with a finished branch.

    Raises ForecastRefused if there is no such set: without a finished branch the band is too wide to choose by.
    """
    sets = sets_with_a_branch(look, version)
    if not sets:
        raise ForecastRefused(
            "history", f"no finished branch has a loss on a held-out set of {version}, so that no length can be chosen"
        )
    forecast = forecaster(look, version, sets)
    return lambda branch: mean_forecast(forecast(branch).values())


def _planned(look: Outlook, version: str) -> PossibleBranch | None:
    """Return the branch of the config with its forecast; None if that is refused."""
    branch = planned_branch(look.plan, look.switching.paradigm.name, look.switching.branches[version])
    try:
        return PossibleBranch(branch, *_mean_forecaster(look, version)(branch))
    except ForecastRefused:
        return None


def _document(
    look: Outlook,
    text: str,
    budget: float,
    best: Choice,
    planned: Mapping[str, PossibleBranch | None],
    remarks: tuple[str, ...],
) -> SpendChoice:
    chosen_of = dict(zip(planned, best.branches, strict=True))
    alphas = {version: alpha_for(look.unit_of(version), each.branch.steps) for version, each in chosen_of.items()}
    name = look.switching.paradigm.name
    compiled = compiled_steps(look.plan, name, alphas)
    if compiled > budget:
        raise ForecastRefused(
            "budget", f"with these branches the plan has {compiled:,} steps, more than the budget of {budget:,.0f}"
        )
    chosen = tuple(
        ChosenVersion(
            version, alphas[version], one.branch.steps, one.branch.fork, one.loss, one.half_width,
            look.switching.branches[version].steps, None if (now := planned[version]) is None else now.loss,
        )
        for version, one in chosen_of.items()
    )  # fmt: skip
    # The line replaces the whole key, so that it repeats what the config says of other versions.
    whole = {**look.switching.strategy.alpha_per_version, **alphas}
    values = ", ".join(f"{version}: {alpha!r}" for version, alpha in whole.items())
    lines = ("paradigms:", f"  {name}:", f"    alpha_per_version: {{{values}}}")
    return SpendChoice(text, budget, compiled, look.switching.paradigm.total_steps, chosen, lines, remarks)


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
