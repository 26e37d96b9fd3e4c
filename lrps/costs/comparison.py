"""Comparison of the paradigms of a plan: planned and measured costs, and the losses of the released versions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from lrps import __version__
from lrps.base.document import INLINE, OPTIONAL, UNLESS_NONE, key
from lrps.costs.answers.budget_answers import BudgetAnswers, budget_answers
from lrps.costs.answers.pace import SpeedComparison
from lrps.costs.answers.probe_results import ProbeResult, probe_results
from lrps.costs.curves.average_beside_branch import AverageBesideBranch, averages_beside_branches
from lrps.costs.curves.heldout_curve import HeldoutCurve, heldout_curves
from lrps.costs.estimate import CostRate, Estimate, estimate
from lrps.costs.forecasts.branch_alert import branch_alerts
from lrps.costs.forecasts.forecast_outcome import ForecastOutcome
from lrps.costs.forecasts.newest_forecast import newest_forecast
from lrps.costs.forecasts.track_record import track_record
from lrps.costs.forecasts.version_forecast import VersionForecast
from lrps.costs.heldout_loss import HeldoutLoss
from lrps.costs.measured_cost import MeasuredCost, sum_measured
from lrps.costs.paradigm_costs import ParadigmCosts, measured_ratios, paradigm_costs
from lrps.costs.path_curve import PathCurve, path_curve
from lrps.costs.path_spending import PathSpending, RunRecords
from lrps.costs.planned.path_amendment import PathAmendment, path_amendments
from lrps.costs.planned.plan_document import GraphCost, PlanDocument, plan_document
from lrps.costs.price import Price, price_of
from lrps.costs.provenance import Provenance, provenance
from lrps.costs.rehearsal_cost import RehearsalCost, rehearsal_cost
from lrps.costs.sample import Sample
from lrps.plan.plan import Plan
from lrps.plan.scores import ScoresOfStates, newest_scores
from lrps.plan.status import PathStatus
from lrps.plan.tasks import tasks_of


@dataclass(frozen=True)
class GraphCosts:
    """Costs of all paths of a plan, each counted once."""

    plan: GraphCost = field(metadata=INLINE)
    """Planned cost."""
    measured: MeasuredCost | None
    """Cost of all attempts; null before the first attempt."""


@dataclass(frozen=True)
class Comparison:
    """Comparison of the paradigms of a plan. A value that was not measured is null, never a guess.

    Writing rehearsal sets is in `rehearsal_cost` and in no other cost.
    """

    FORMAT: ClassVar[str] = "lrps-comparison/1"
    plan: PlanDocument = field(metadata=INLINE)
    """Plan of the run; its totals of steps that are not trained yet are those of the run's state."""
    paradigms: Mapping[str, ParadigmCosts]
    """Costs of each paradigm, by name, in the order of the config."""
    graph: GraphCosts
    """Costs of all paths, each counted once."""
    initial_heldout: Mapping[str, HeldoutLoss] | None = field(metadata=OPTIONAL)
    """Losses of the model that the plan starts from, by the version of the held-out set, as far as they were measured;
    null for weights that are drawn from the seed."""
    tasks: Mapping[str, str | None]
    """Version of each evaluation task, by the name of the task; null for tasks of no version."""
    cost_model: CostRate
    """Cost of one token in estimates, and its basis."""
    rehearsal_cost: RehearsalCost | None
    """Cost of writing rehearsal sets; null before the first one is recorded."""
    curves: Mapping[str, PathCurve]
    """Learning rate and training loss of each path, by name."""
    updated: str | None
    """Time of the newest record of any ledger, in ISO 8601; null before the first one."""
    price: Price | None
    """Price of a device-hour, by the config or `--price`."""
    lrps_version: str = field(metadata=key("lrps"))
    """Version of lrps that made the comparison."""
    provenance: Provenance
    """Fingerprint of the plan, software and recorded prices."""
    pace: SpeedComparison = field(metadata=OPTIONAL)
    """The one speed at which ways of training are compared, and the pace of each path."""
    answers: BudgetAnswers = field(metadata=OPTIONAL)
    """Costs of the main paradigm beside the others at one speed, and what faults and start-up cost."""
    other_parents: Mapping[str, str] = field(default_factory=dict, metadata=OPTIONAL)
    """Descriptions of forks whose parent has another state at that step now, by the name of the forked path."""
    failures: Mapping[str, str] = field(default_factory=dict, metadata=OPTIONAL)
    """Descriptions of failed steps and of what has to follow, by the name of the path."""
    amendments: Mapping[str, tuple[PathAmendment, ...]] = field(default_factory=dict, metadata=OPTIONAL)
    """Amendments of each path that `lrps rewind` took back, oldest first, by its name (docs/steering.md)."""
    unconfirmed: Mapping[str, int] = field(default_factory=dict, metadata=OPTIONAL)
    """Step of the last state of each complete path of which nothing confirms it yet (docs/steering.md), by name."""
    heldout_curves: Mapping[str, HeldoutCurve] = field(default_factory=dict, metadata=OPTIONAL)
    """Held-out losses of main paths while they were trained, by the name of the path."""
    averages_beside_branches: tuple[AverageBesideBranch, ...] = field(default=(), metadata=OPTIONAL)
    """Averages of a main path's weights beside the branch of the same version, on the same held-out sequences."""
    probe_results: tuple[ProbeResult, ...] | None = field(default=None, metadata=UNLESS_NONE)
    """Losses of the probes beside their controls; the key is absent without probes."""
    forecast: VersionForecast | None = field(default=None, metadata=UNLESS_NONE)
    """Forecast of the next version, or of the last one if all are trained; the key is absent where there is none."""
    forecast_refused: str | None = field(default=None, metadata=UNLESS_NONE)
    """Reason in words why that forecast is refused as a whole; the key is absent otherwise."""
    track_record: tuple[ForecastOutcome, ...] | None = field(default=None, metadata=UNLESS_NONE)
    """Forecasts that stood when branches started, beside their outcomes; the key is absent where none was recorded."""
    off_forecast: Mapping[str, str] = field(default_factory=dict, metadata=OPTIONAL)
    """Descriptions of how branches have left the forecasts that stood when they started, by the name of the path."""


def make_comparison(plan: Plan, elsewhere: Sequence[Sample] = ()) -> Comparison:
    """Return the comparison of a plan's paradigms. elsewhere: samples of other runs, for a run that measured nothing.

    Raises LedgerError for a ledger that was changed.
    """
    run = RunRecords.read(plan)
    planned = plan_document(plan, {name: status.step for name, status in run.statuses.items()})
    spendings = {
        paradigm.name: {path.name: run.spending(path) for path in paradigm.paths} for paradigm in plan.graph.paradigms
    }
    whole = {path.name: run.spending(path) for path in plan.graph.paths}
    by_path = {name: spending.measured for name, spending in whole.items()}
    watched = heldout_curves(plan, run.statuses)
    total = sum_measured(by_path.values())
    model = estimate(plan, run.samples, elsewhere)
    scores = newest_scores(plan)
    paradigms = _paradigms(planned, spendings, run, model, scores)
    pace, answers = budget_answers(plan, planned, paradigms, by_path, total)
    price, record = price_of(plan), track_record(plan, watched)
    forecast, refused = newest_forecast(plan, watched, pace, price, record)
    return Comparison(
        plan=planned,
        paradigms=paradigms,
        graph=GraphCosts(planned.graph, total),
        initial_heldout=run.initial_heldout,
        tasks=tasks_of(plan.config.evaluation),
        cost_model=model.rate,
        rehearsal_cost=rehearsal_cost(plan),
        curves={path.name: path_curve(plan, path) for path in plan.graph.paths},
        updated=max((s.totals.updated for s in run.statuses.values() if s.totals.updated), default=None),
        price=price,
        lrps_version=__version__,
        provenance=provenance(plan, [spending.totals for spending in whole.values()]),
        pace=pace,
        answers=answers,
        other_parents={name: status.other_parent for name, status in run.statuses.items() if status.other_parent},
        failures={name: status.failure for name, status in run.statuses.items() if status.failure},
        amendments={path.name: path_amendments(path) for path in plan.graph.paths if path.amendments},
        unconfirmed=_unconfirmed(run.statuses.values()),
        heldout_curves=watched,
        averages_beside_branches=averages_beside_branches(plan, lambda name: run.statuses[name].evaluations),
        probe_results=probe_results(plan, run, by_path, scores) or None,
        forecast=forecast,
        forecast_refused=refused,
        track_record=record or None,
        off_forecast={name: str(alert) for name, alert in branch_alerts(plan, run.statuses.values()).items()},
    )


def _paradigms(
    planned: PlanDocument,
    spendings: Mapping[str, Mapping[str, PathSpending]],
    run: RunRecords,
    model: Estimate,
    scores: ScoresOfStates,
) -> dict[str, ParadigmCosts]:
    """Return the costs of every paradigm, by name. spendings: by paradigm, then by path."""
    paradigms = run.plan.graph.paradigms
    ratios = measured_ratios(paradigms, spendings, run)
    return {
        each.name: paradigm_costs(
            each, planned.paradigms[each.name], spendings[each.name], run, model, scores, ratios[each.name]
        )
        for each in paradigms
    }


def _unconfirmed(statuses: Iterable[PathStatus]) -> dict[str, int]:
    """Return name -> step of the last state of every complete path of which nothing confirms it."""
    complete = (status for status in statuses if status.state == "complete")
    return {status.path.name: status.step for status in complete if status.confirmed_step != status.step}
