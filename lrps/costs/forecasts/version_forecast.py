"""Forecast of a version: losses and costs over the length and the shape of its branch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from itertools import accumulate
from typing import ClassVar

from lrps.base.document import OPTIONAL, UNLESS_NONE
from lrps.base.errors import ConfigError
from lrps.costs.answers.pace import SpeedComparison
from lrps.costs.curves.heldout_curve import BranchEnd, HeldoutCurve
from lrps.costs.forecasts.average_rows import AverageRow, average_rows
from lrps.costs.forecasts.finished_branch import FinishedBranch
from lrps.costs.forecasts.forecast_outcome import ForecastOutcome
from lrps.costs.forecasts.known_losses import (
    KnownLosses,
    Switching,
    check_law,
    ends_before,
    known_losses,
    losses_at_end,
    planned_branch,
    switching_of,
)
from lrps.costs.heldout_loss import mean_over_sets
from lrps.costs.price import Price
from lrps.forecast import Forecast, ForecastRefused, forecast_branch
from lrps.forecast.branch import BranchPlan
from lrps.forecast.fallback import Fallback, VersionLosses, fallback
from lrps.forecast.main_curve import MainCurve
from lrps.paths.compiler import half_up
from lrps.paths.optimizer_states import other_than_adamw
from lrps.plan.plan import Plan

SHARES = (Fraction(1, 4), Fraction(1, 2), Fraction(1), Fraction(3, 2), Fraction(2))
"""Lengths of the table by default, as multiples of the length that the config gives the branch."""
SHAPES = ("linear", "1-sqrt")
"""Shapes of the table, beside that of the config."""


@dataclass(frozen=True)
class ForecastLoss:
    """Forecast loss on one held-out set, or the reason why there is none."""

    loss: float | None
    """Loss in nats per predicted token; null if it is refused."""
    half_width: float | None
    """Half-width of the 90 % band, in nats per token."""
    repeat_last_drop: float | None
    """Loss by the simplest rule, that the branch falls as far below its fork as the last one did; null without one."""
    branches: int
    """Number of finished branches with a loss on this set that the forecast is based on."""
    known_to: int | None
    """Last step of the main path with a loss on this set; null without one."""
    outcome: float | None
    """Measured loss, if the branch is the one of the config and is trained; null otherwise."""
    curve: MainCurve | None
    """Curve that was fitted to the main path's losses; null if the forecast is refused."""
    refused: str | None
    """Reason why the forecast is refused, in words; null if it is not."""
    band_branches: int = field(default=0, metadata=OPTIONAL)
    """Number of the run's finished branches whose errors the band comes from; 0 for the band of the public curves."""
    fallback: Fallback | None = field(default=None, metadata=OPTIONAL)
    """Estimate in place of the forecast of the config's branch, where that is refused for drift and the main path was
    evaluated at the end of the increment; null otherwise."""
    is_noisy: bool = field(default=False, metadata=OPTIONAL)
    """Whether the main path's losses are off their curve by more than the band of the finished branches. The band is
    then the wide one of a forecast without branches."""


@dataclass(frozen=True)
class ForecastRow:
    """One possible branch of the version."""

    alpha: float
    """Length in the unit of the config's `alpha_of`."""
    steps: int
    """Number of optimizer steps of the branch: what the version costs beyond the main path."""
    fork: int
    """Step of the main path at which it forks."""
    shape: str
    """Shape of the decay."""
    is_planned: bool
    """True for the branch of the config."""
    device_hours: float | None
    """Device-hours of the branch at the run's one speed; null if that is not known."""
    money: float | None
    """Cost of the branch in the currency of the price; null without a price or a speed."""
    mean_loss: float | None
    """Mean of the forecasts over the held-out sets of the versions so far; null if one of them is refused."""
    mean_half_width: float | None
    """Half-width of the mean's 90 % band: the mean of the half-widths, since errors of the sets go together."""
    losses: Mapping[str, ForecastLoss]
    """Forecasts by the version of the held-out set."""


@dataclass(frozen=True)
class VersionForecast:
    """Forecast of a version over the length and the shape of its branch."""

    FORMAT: ClassVar[str] = "lrps-forecast/1"
    name: str
    """Name of the run."""
    version: str
    """Version that is forecast."""
    trained: bool
    """True for a trained version, whose forecast is that of what was known when its branch began."""
    alpha_of: str
    """Unit of alpha."""
    currency: str | None
    """Currency of money; null without a price."""
    rows: tuple[ForecastRow, ...]
    """Possible branches, by shape and length."""
    main_path: str = field(metadata=OPTIONAL)
    """Name of the main path."""
    finished: tuple[FinishedBranch, ...] = field(metadata=OPTIONAL)
    """Finished branches that the forecast is based on, oldest first."""
    averages: tuple[AverageRow, ...] = field(metadata=OPTIONAL)
    """Averages of the main path that were evaluated at the end of the version's increment."""
    track_record: tuple[ForecastOutcome, ...] = field(default=(), metadata=OPTIONAL)
    """Forecasts of all versions that were recorded when their branches started, beside the outcomes."""
    as_recorded: bool = field(default=False, metadata=OPTIONAL)
    """True for a trained version if the record of its start says how much of the main path was known; otherwise the
    main path counts up to the fork."""
    other_paradigms: tuple[str, ...] = field(default=(), metadata=OPTIONAL)
    """Names of the run's other paradigms of path switching, of which this is no forecast."""
    optimizer: str | None = field(default=None, metadata=UNLESS_NONE)
    """Kind of optimizer, if it is another than AdamW, with which the law was fitted; the key is absent for AdamW."""


@dataclass(frozen=True)
class Outlook:
    """Everything that forecasts of a run are based on."""

    plan: Plan
    """Plan of the run."""
    switching: Switching
    """Path switching of the plan."""
    curve: HeldoutCurve
    """Held-out losses of the main path and of its branches."""
    pace: SpeedComparison
    """Speed of the run."""
    price: Price | None
    """Price of a device-hour."""
    record: tuple[ForecastOutcome, ...] = ()
    """Recorded forecasts of the run's branches."""

    def known_to(self, version: str) -> dict[str, int]:
        """Return held-out set -> last step of the main path that was known when the branch of a version started.

        Sets for which that was not recorded are left out.
        """
        path = self.switching.branches[version].name
        return {
            each.heldout: each.known_to
            for each in self.record
            if (each.path, each.recorded) == (path, "start") and each.known_to is not None
        }

    @cached_property
    def ends(self) -> tuple[BranchEnd, ...]:
        """Ends of the paradigm's own branches: others may fork from the same main path."""
        own = {version: path.name for version, path in self.switching.branches.items()}
        return tuple(end for end in self.curve.branch_ends if own.get(end.released) == end.path)

    @cached_property
    def trained(self) -> frozenset[str]:
        """Versions whose branches were evaluated."""
        return frozenset(end.released for end in self.ends)

    @cached_property
    def abandoned(self) -> Mapping[str, str]:
        """Trained version -> description of its fork, of branches from a history of the main path that was abandoned.

        They say nothing about branches from the present history of the main path.
        """
        return {end.released: end.other_parent for end in self.ends if end.other_parent is not None}

    def finished_before(self, version: str) -> tuple[FinishedBranch, ...]:
        """Return the finished branches that the forecast of a version is based on, oldest first."""
        branches, trained = self.switching.branches, version in self.trained
        count = self.trained - self.abandoned.keys()
        found = [
            (each, path)
            for each, path in branches.items()
            if each in count and ends_before(path, branches[version], trained)
        ]
        return tuple(
            FinishedBranch(each, path.name, path.start, path.steps)
            for each, path in sorted(found, key=lambda item: item[1].stop)
        )

    @property
    def to_come(self) -> tuple[str, ...]:
        """Versions that are not trained, oldest first."""
        return tuple(version for version in self.switching.branches if version not in self.trained)

    @property
    def newest(self) -> str:
        """Next version, or the last one if all are trained."""
        return (*self.to_come, *list(self.switching.branches)[-1:])[0]

    def next_version(self) -> str:
        """Return the first version that is not trained. Raises ConfigError if all are."""
        if not self.to_come:
            raise ConfigError(
                "all versions of the plan are trained: add the next one to data.versions (`tokens` is enough to plan "
                "it), or name one with --version to see what its forecast would have been"
            )
        return self.to_come[0]

    def end_of(self, version: str) -> int:
        """Return the step at which a version's increment ends."""
        edges = accumulate(increment.steps for increment in self.plan.increments)
        return dict(zip((increment.version for increment in self.plan.increments), edges, strict=True))[version]

    def steps_of(self, version: str) -> int:
        """Return the number of steps of a version's increment."""
        return next(each.steps for each in self.plan.increments if each.version == version)

    def unit_of(self, version: str) -> Fraction:
        """Return the number of steps of alpha = 1."""
        of_tokens = Fraction(1, self.plan.config.tokens_per_step)
        units: dict[str, int | Fraction] = {"increment": self.steps_of(version), "steps-so-far": self.end_of(version)}
        units |= {"steps": 1, "tokens": of_tokens}
        return Fraction(units[self.switching.strategy.alpha_of])

    def fallback(self, version: str, heldout: str) -> Fallback | None:
        """Return the forecast of a version from the end of its increment, without the law; None where it has none."""
        ends = {each: self.end_of(each) for each in self.switching.branches}
        main = {each: losses_at_end(self.curve, end - self.steps_of(each), end) for each, end in ends.items()}
        branch: dict[str, dict[str, float]] = {each: {} for each in ends}
        for end in self.ends:
            if end.other_parent is None:
                branch[end.released][end.version] = end.loss
        order = [increment.version for increment in self.plan.increments]
        known = [VersionLosses(each, main[each], branch[each]) for each in order if each in ends]
        return fallback(order, known, version, heldout)


def outlook(
    plan: Plan,
    curves: Mapping[str, HeldoutCurve],
    pace: SpeedComparison,
    price: Price | None,
    name: str | None = None,
    record: Sequence[ForecastOutcome] = (),
) -> Outlook:
    """Return what forecasts of a plan's path switching are based on.

    curves, pace, price: those of its comparison. name: paradigm. record: the run's track record. Raises ConfigError
    without path switching and ForecastRefused if the main path was never evaluated.
    """
    switching = switching_of(plan, name)
    curve = curves.get(switching.main.name)
    if curve is None:
        raise ForecastRefused(
            "points",
            f"{switching.main.name} was never evaluated on held-out data. `evaluation.main_every_steps` evaluates it "
            f"while it is trained, `lrps evaluate CONFIG {switching.main.name} --steps all` its saved states now",
        )
    return Outlook(plan, switching, curve, pace, price, tuple(record))


def version_forecast(
    look: Outlook, version: str | None = None, alphas: Sequence[Fraction] | None = None
) -> VersionForecast:
    """Return the forecast of a version over lengths and shapes.

    version: by default the next one. alphas: lengths in the unit of the config; by default SHARES of the config's.
    Raises ConfigError for a version without a branch or an alpha that is too long, and ForecastRefused where nothing
    can be forecast for any branch.
    """
    version = version or look.next_version()
    path = look.switching.branches.get(version)
    if path is None:
        raise ConfigError(f"--version {version}: the plan has branches of {', '.join(look.switching.branches)}")
    if version in look.abandoned:
        raise ForecastRefused(
            "abandoned",
            f"{path.name}, which releases {version}, was {look.abandoned[version]}: what was known when it began "
            "cannot be told from the main path as it is now. `lrps ledger show CONFIG --kind forecast` has the "
            "forecast that was recorded then, and the report has it beside the outcome",
        )
    check_law(look.plan, look.switching, version)
    end, unit = look.end_of(version), look.unit_of(version)
    lengths = [share * path.steps for share in SHARES] if alphas is None else [alpha * unit for alpha in alphas]
    shape = look.switching.strategy.decay
    final = look.switching.final
    sets = _sets_of(look, version)
    asked = [max(1, half_up(length.numerator, length.denominator)) for length in lengths]
    if not any(steps < end for steps in asked):
        raise ConfigError(f"--alpha: no length below the {end:,} steps at the end of {version}")
    rows = []
    for each in dict.fromkeys((shape, *SHAPES)):
        # The config's branch is always there: the sentences below the table are about it.
        for steps in sorted({*asked, *([path.steps] if each == shape else [])}):
            if steps < end:
                branch = BranchPlan(end - steps, steps, each, final=final)
                rows.append(_row(look, version, branch, sets, float(steps / unit)))
    return VersionForecast(
        name=look.plan.config.name,
        version=version,
        trained=version in look.trained,
        alpha_of=look.switching.strategy.alpha_of,
        currency=look.price.currency if look.price else None,
        rows=tuple(rows),
        main_path=look.switching.main.name,
        finished=look.finished_before(version),
        averages=tuple(_averages(look, version)),
        as_recorded=version in look.trained and bool(look.known_to(version)),
        other_paradigms=look.switching.others,
        optimizer=other_than_adamw(look.plan.config.optimizer.kind),
    )


def _averages(look: Outlook, version: str) -> Iterator[AverageRow]:
    """Yield the averages of the main path at the end of a version's increment."""
    finished, steps = look.finished_before(version), look.switching.branches[version].steps
    yield from average_rows(look.curve, look.end_of(version), steps, finished, tuple(_so_far(look, version)))


def planned_losses(look: Outlook, version: str) -> dict[str, ForecastLoss]:
    """Return the forecast of a version's branch as the config has it, by held-out set of the version.

    Sets on which the main path was never evaluated are left out. Raises ForecastRefused for a version of too few steps,
    and where no set is left.
    """
    check_law(look.plan, look.switching, version)
    branch = planned_branch(look.plan, look.switching.paradigm.name, look.switching.branches[version])
    sets = _sets_of(look, version)
    return {each: _loss(look, version, branch, each, known, True) for each, known in sets.items() if known.main}


def forecaster(
    look: Outlook, version: str, only: Collection[str] | None = None
) -> Callable[[BranchPlan], dict[str, Forecast]]:
    """Return the function from a branch of a version to its forecasts by held-out set, of the versions so far.

    only: held-out sets; by default all of them. Raises ForecastRefused where nothing can be forecast for any branch;
    the function raises it if the forecast on one of the sets is refused.
    """
    check_law(look.plan, look.switching, version)
    sets = {each: known for each, known in _so_far(look, version).items() if only is None or each in only}
    return lambda branch: {each: _forecast(look, version, branch, known) for each, known in sets.items()}


def sets_with_a_branch(look: Outlook, version: str) -> tuple[str, ...]:
    """Return the held-out sets, of the versions so far, on which a finished branch has a loss."""
    return tuple(each for each, known in _so_far(look, version).items() if known.branches)


def _so_far(look: Outlook, version: str) -> dict[str, KnownLosses]:
    """Return the known losses on the held-out sets of the versions so far, in the order of the plan."""
    return {each: known for each, known in _sets_of(look, version).items() if is_so_far(look.plan, version, each)}


def _sets_of(look: Outlook, version: str) -> dict[str, KnownLosses]:
    """Return the held-out sets that a version is measured on, with the losses that are known; maybe none.

    Raises ForecastRefused if the main path was evaluated on none of the versions so far.
    """
    branch = look.switching.branches[version]
    trained = version in look.trained - look.abandoned.keys()
    end, recorded = look.end_of(version), look.known_to(version)
    known = known_losses(look.switching, look.curve, branch, end, trained, recorded)
    sets = [each for each in look.plan.heldout_versions(version) if each in known or each in look.plan.heldout]
    if not any(each in known and is_so_far(look.plan, version, each) for each in sets):
        raise ForecastRefused("points", f"the main path was never evaluated on a held-out set of version {version}")
    return {each: known.get(each, KnownLosses((), ())) for each in sets}


def is_so_far(plan: Plan, version: str, heldout: str) -> bool:
    """Return whether a held-out set is that of a version or of an earlier one, and not of the next one."""
    names = [increment.version for increment in plan.increments]
    return names.index(heldout) <= names.index(version)


def _forecast(look: Outlook, version: str, branch: BranchPlan, known: KnownLosses) -> Forecast:
    begin = look.end_of(version) - look.steps_of(version)
    schedule = look.plan.config.schedule
    return forecast_branch(
        known.main,
        known.branches,
        fork=branch.fork,
        steps=branch.steps,
        shape=branch.shape,
        final=branch.final,
        peak=look.plan.config.peak_lr_of(look.switching.strategy),
        warmup=schedule.warmup_steps,
        drift_from=begin or None,
    )


def _row(look: Outlook, version: str, branch: BranchPlan, sets: Mapping[str, KnownLosses], alpha: float) -> ForecastRow:
    path = look.switching.branches[version]
    planned = (branch.fork, branch.steps, branch.shape) == (path.start, path.steps, look.switching.strategy.decay)
    losses = {each: _loss(look, version, branch, each, known, planned) for each, known in sets.items()}
    so_far = [found for heldout, found in losses.items() if is_so_far(look.plan, version, heldout)]
    hours = look.pace.hours(branch.steps)
    return ForecastRow(
        alpha=alpha,
        steps=branch.steps,
        fork=branch.fork,
        shape=branch.shape,
        is_planned=planned,
        device_hours=hours,
        money=None if hours is None or look.price is None else hours * look.price.amount,
        mean_loss=mean_over_sets(each.loss for each in so_far),
        mean_half_width=mean_over_sets(each.half_width for each in so_far),
        losses=losses,
    )


def _loss(
    look: Outlook, version: str, branch: BranchPlan, heldout: str, known: KnownLosses, planned: bool
) -> ForecastLoss:
    ends = {(end.released, end.version): end.loss for end in look.ends}
    outcome = ends.get((version, heldout)) if planned else None
    known_to = round(known.main[-1][0]) if known.main else None
    try:
        found = _forecast(look, version, branch, known)
    except ForecastRefused as refusal:
        drifts = planned and refusal.reason == "drift"
        return ForecastLoss(
            loss=None,
            half_width=None,
            repeat_last_drop=None,
            branches=len(known.branches),
            known_to=known_to,
            outcome=outcome,
            curve=None,
            refused=str(refusal),
            fallback=look.fallback(version, heldout) if drifts else None,
        )
    basis = (found.repeat_last_drop, found.branches, known_to)
    return ForecastLoss(
        found.loss, found.half_width, *basis, outcome, found.curve, None, found.band_branches, is_noisy=found.is_noisy
    )
