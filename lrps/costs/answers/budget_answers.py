"""Answers to the questions of a budget owner: what all versions cost, what other ways of training would cost, what the
next version costs, and what faults and start-up cost.

Only training is compared, at one speed (pace.py), so that every ratio is one of steps. What was measured is beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lrps.costs.answers.bill import Bill, bill_of
from lrps.costs.answers.closed_formulas import PlannedDecays, planned_decays
from lrps.costs.answers.pace import SpeedComparison, main_paradigm, pace_of
from lrps.costs.measured_cost import MeasuredCost
from lrps.costs.paradigm_costs import ParadigmCosts
from lrps.costs.planned.plan_document import PlanDocument
from lrps.paths.cost import cpt_steps, ptfs_steps
from lrps.plan.plan import Plan

BASES = ("ptfs", "cpt")
"""Kinds of paradigms that every other one is compared with."""


@dataclass(frozen=True)
class StepsCost:
    """Cost of some optimizer steps at the one speed of the run, training alone."""

    steps: int
    """Number of optimizer steps."""
    device_hours: float | None
    """Device-hours of the steps; null if the speed is not known."""
    money: float | None
    """Price of the device-hours, at the price of the config; null if there is none."""


@dataclass(frozen=True)
class WayOfTraining:
    """A paradigm of the plan, or PTFS or CPT by its closed formula where the plan has none of that kind."""

    name: str
    """Name of the paradigm; its kind if the plan has none of that kind."""
    kind: str
    """Kind of the paradigm: path-switching, ptfs, cpt or wsd-s."""
    in_plan: bool
    """False for a closed formula."""
    all_versions: StepsCost
    """Cost of all versions."""
    next_version: StepsCost
    """Cost of one more version, as large as the newest."""
    ratio_to_ptfs: float
    """Its steps over those of PTFS: the ratio at one speed."""
    ratio_to_cpt: float
    """Its steps over those of CPT: the ratio at one speed."""
    training_hours: float | None
    """Device-hours in optimizer steps as it ran, repeated ones included; null unless it was measured to its end."""
    measured_ratio_to_ptfs: float | None
    """`training_hours` over those of PTFS; null unless both were measured to their end."""
    measured_ratio_to_cpt: float | None
    """`training_hours` over those of CPT; null unless both were measured to their end."""
    unequal_to_ptfs: bool
    """True if its paths and those of PTFS ran at unequal speeds: the measured ratio then compares machines."""
    unequal_to_cpt: bool
    """True if its paths and those of CPT ran at unequal speeds."""
    slowness: float | None
    """Device time of a counted step of it over that at the one speed; null unless it was measured to its end."""
    seen_loss: float | None
    """Mean held-out loss of its newest version, in nats per token; null if it was not measured."""


@dataclass(frozen=True)
class BudgetAnswers:
    """Costs that a budget owner asks for, of the main paradigm beside the others."""

    paradigm: str
    """Main paradigm: the first path switching of the config, or else its first paradigm."""
    complete: bool
    """True if the main paradigm is trained and evaluated, so that its bill is the cost of all versions."""
    decays: PlannedDecays | None
    """Length of the decays of the main paradigm; null if it is no path switching."""
    ways: tuple[WayOfTraining, ...]
    """Paradigms in the order of the config, then PTFS and CPT by closed formulas where the config has none."""
    bill: Bill | None
    """Measured cost of the main paradigm; null before its first attempt."""
    run_bill: Bill | None
    """Measured cost of all paths, each counted once; null before the first attempt."""

    def way(self, name: str) -> WayOfTraining:
        """Return the way of training with this name."""
        return next(way for way in self.ways if way.name == name)

    @property
    def main(self) -> WayOfTraining:
        """The main paradigm."""
        return self.way(self.paradigm)

    def base(self, kind: str) -> WayOfTraining:
        """Return the first way of training of a kind among ptfs and cpt."""
        return next(way for way in self.ways if way.kind == kind)


def budget_answers(
    plan: Plan,
    planned: PlanDocument,
    paradigms: Mapping[str, ParadigmCosts],
    paths: Mapping[str, MeasuredCost],
    run: MeasuredCost | None,
) -> tuple[SpeedComparison, BudgetAnswers]:
    """Return the pace of a run and the answers. paths: cost of each path, by name; run: cost of all together."""
    name = main_paradigm({each: costs.plan.kind for each, costs in paradigms.items()})
    main = paradigms[name]
    hours = plan.costs.of(1).device_hours
    own = [path.plan.name for path in main.paths]
    pace = pace_of(paths, name, own, main.measured, None if hours is None else hours * 3600)
    ways = _Ways(pace, planned, paradigms, plan.costs.price_per_device_hour)
    return pace, BudgetAnswers(
        paradigm=name,
        complete=main.complete and main.measured is not None,
        decays=planned_decays(plan.config.paradigms[name], main.plan),
        ways=tuple(ways),
        bill=_bill(main),
        run_bill=None if run is None else bill_of(run, paths),
    )


def _bill(main: ParadigmCosts) -> Bill | None:
    return None if main.measured is None else bill_of(main.measured, {p.plan.name: p.measured for p in main.paths})


@dataclass(frozen=True)
class _Ways:
    """Ways of training of a plan, as an iterable."""

    pace: SpeedComparison
    planned: PlanDocument
    paradigms: Mapping[str, ParadigmCosts]
    price: float | None

    def __iter__(self) -> Iterator[WayOfTraining]:
        for name, costs in self.paradigms.items():
            yield self._paradigm(name, costs)
        increments = self._increments
        # Steps of all versions, and of one more version of the size of the newest.
        formulas = {
            "ptfs": (ptfs_steps(increments), sum(increments) + increments[-1]),
            "cpt": (cpt_steps(increments), increments[-1]),
        }
        for kind in BASES:
            if self._base(kind) is None:
                yield self._formula(kind, *formulas[kind])

    @property
    def _increments(self) -> list[int]:
        return [version.steps for version in self.planned.versions]

    def _base(self, kind: str) -> str | None:
        return next((name for name, costs in self.paradigms.items() if costs.plan.kind == kind), None)

    def _cost(self, steps: int) -> StepsCost:
        hours = self.pace.hours(steps)
        return StepsCost(steps, hours, None if hours is None or self.price is None else hours * self.price)

    def _paradigm(self, name: str, costs: ParadigmCosts) -> WayOfTraining:
        measured = costs.measured if costs.complete else None
        counted = measured.total_steps if measured and measured.productive_hours else 0
        seconds = self.pace.device_seconds_per_step
        own = measured.productive_hours * 3600 / counted if measured and counted else None
        return WayOfTraining(
            name=name,
            kind=costs.plan.kind,
            in_plan=True,
            all_versions=self._cost(costs.plan.cost.steps),
            next_version=self._cost(self.planned.next[name].cost.steps),
            ratio_to_ptfs=costs.plan.ratio_to_ptfs,
            ratio_to_cpt=costs.plan.ratio_to_cpt,
            training_hours=measured.training_hours if measured else None,
            measured_ratio_to_ptfs=costs.ratios.training_to_ptfs,
            measured_ratio_to_cpt=costs.ratios.training_to_cpt,
            unequal_to_ptfs=self._is_unequal(name, "ptfs"),
            unequal_to_cpt=self._is_unequal(name, "cpt"),
            slowness=own / seconds if own and seconds else None,
            seen_loss=costs.releases[-1].seen_loss,
        )

    def _is_unequal(self, name: str, kind: str) -> bool:
        base = self._base(kind)
        return base not in (None, name) and self.pace.differs_among(self._paths(name, str(base)))

    def _paths(self, *names: str) -> Sequence[str]:
        return [path.plan.name for name in names for path in self.paradigms[name].paths]

    def _formula(self, kind: str, steps: int, more: int) -> WayOfTraining:
        increments = self._increments
        # A paradigm of another kind may be called ptfs or cpt.
        return WayOfTraining(
            name=kind if kind not in self.paradigms else f"{kind}-default",
            kind=kind,
            in_plan=False,
            all_versions=self._cost(steps),
            next_version=self._cost(more),
            ratio_to_ptfs=steps / ptfs_steps(increments),
            ratio_to_cpt=steps / cpt_steps(increments),
            training_hours=None,
            measured_ratio_to_ptfs=None,
            measured_ratio_to_cpt=None,
            unequal_to_ptfs=False,
            unequal_to_cpt=False,
            slowness=None,
            seen_loss=None,
        )
