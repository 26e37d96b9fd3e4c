"""Costs of a paradigm: its plan, what its ledgers measured, and the versions that it released."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from lrps.base.document import INLINE, OPTIONAL, key
from lrps.config.strategies import Mixing, PathSwitching, Strategy
from lrps.costs.estimate import Estimate
from lrps.costs.forgetting_matrix import ForgettingMatrix, forgetting_matrices
from lrps.costs.measured_cost import MeasuredCost, sum_measured
from lrps.costs.path_spending import PathSpending, RunRecords
from lrps.costs.planned.path_plan import PathPlan
from lrps.costs.planned.plan_document import ParadigmPlan
from lrps.costs.released_version import ReleasedVersion, released_version
from lrps.costs.tagged_cost import TaggedCost
from lrps.costs.version_costs import VersionCosts, attributed_costs
from lrps.paths.graph import Paradigm
from lrps.plan.plan import Plan
from lrps.plan.scores import Score
from lrps.plan.tasks import tasks_of


@dataclass(frozen=True)
class PathCosts:
    """Costs of a path up to its end in one paradigm."""

    plan: PathPlan = field(metadata=INLINE)
    """Plan of the path."""
    state: str
    """State of the path: planned, running, interrupted, failed, trained, complete or foreign (plan/status.py)."""
    measured: MeasuredCost
    """Cost of all attempts at the path; zero attempts if it was not begun."""


@dataclass(frozen=True)
class MixShares:
    """Shares of the sequences that a path reads; their sum is 1."""

    new: float
    """Share of the version's own increment."""
    replay: float
    """Share of older increments."""
    rehearsal: float
    """Share of rehearsal sets."""
    sets: Mapping[str, float] | None = field(default=None, metadata=OPTIONAL)
    """Shares of single sets and older versions, by name, beside the shares above."""
    extra: Mapping[str, float] | None = field(default=None, metadata=OPTIONAL)
    """Shares of the path's steps that are added, by name of a set or an older version."""


@dataclass(frozen=True)
class MeasuredRatios:
    """Measured cost of a paradigm over that of the first PTFS and the first CPT of the config.

    A ratio is null unless both paradigms were measured to their end.
    """

    training_to_ptfs: float | None = field(metadata=key("measured_ratio_to_ptfs"))
    """Device-hours in optimizer steps, repeated ones included, over those of PTFS."""
    training_to_cpt: float | None = field(metadata=key("measured_ratio_to_cpt"))
    """Device-hours in optimizer steps, repeated ones included, over those of CPT."""
    allocated_to_ptfs: float | None = field(metadata=key("measured_held_ratio_to_ptfs"))
    """Allocated device-hours over those of PTFS."""
    allocated_to_cpt: float | None = field(metadata=key("measured_held_ratio_to_cpt"))
    """Allocated device-hours over those of CPT."""


@dataclass(frozen=True)
class ParadigmCosts:
    """Costs of a paradigm. A path that paradigms share counts in each of them: the cost of the paradigm on its own."""

    plan: ParadigmPlan = field(metadata=INLINE)
    """Plan of the paradigm."""
    paths: tuple[PathCosts, ...]
    """Paths, parents before children."""
    measured: MeasuredCost | None
    """Cost of all attempts at all paths; null before the first attempt."""
    mix: Mapping[str, MixShares] | None
    """Shares of the sequences that branches and CPT paths read, by version; null for a paradigm without a mix."""
    branch_data: str | None
    """Part of the increment that branches of path switching read: `rest` or `whole`; null for other paradigms."""
    complete: bool
    """True if every path is trained and evaluated."""
    releases: tuple[ReleasedVersion, ...]
    """Released versions, oldest first."""
    matrices: Mapping[str, ForgettingMatrix]
    """Forgetting matrices by measure, of every measure that has a score."""
    estimate: TaggedCost | None
    """Cost of the whole paradigm, with an estimate of its missing steps; null if it was trained to its end."""
    unreleased: TaggedCost | None
    """Cost of the steps that no version needs; null if there are none."""
    cumulative_steps: Mapping[str, int]
    """Number of planned optimizer steps of all versions up to each one, by version."""
    ratios: MeasuredRatios = field(metadata=INLINE)
    """Measured cost in relation to PTFS and CPT."""

    @property
    def whole(self) -> TaggedCost:
        """Cost of the whole paradigm: as measured to its end, or else as estimated."""
        if self.estimate is not None:
            return self.estimate
        measured = self.measured
        assert measured is not None, "without an estimate the ledgers cover all steps"
        return TaggedCost(
            steps=measured.total_steps,
            tokens=measured.spent_tokens,
            flops=measured.spent_flops,
            device_hours=measured.device_hours,
            training_hours=measured.training_hours,
            money=measured.money,
            energy_kwh=measured.energy_kwh,
            basis="measured",
        )


def paradigm_costs(
    paradigm: Paradigm,
    planned: ParadigmPlan,
    spendings: Mapping[str, PathSpending],
    run: RunRecords,
    estimate: Estimate,
    scores: Mapping[tuple[str, int, str], Mapping[str, Score]],
    ratios: MeasuredRatios,
) -> ParadigmCosts:
    """Return the costs of a paradigm. spendings: by path. scores: by (path, step, form), then by task."""
    plan, statuses = run.plan, run.statuses
    versions = [increment.version for increment in plan.increments]
    costs = attributed_costs(paradigm, spendings, estimate)
    releases = tuple(
        released_version(
            release,
            statuses[release.path],
            versions,
            scores.get((release.path, release.step, release.form), {}),
            costs.versions[release.version],
        )
        for release in paradigm.releases
    )
    strategy = plan.config.paradigms[paradigm.name]
    return ParadigmCosts(
        plan=planned,
        paths=tuple(
            PathCosts(path, statuses[path.name].state, spendings[path.name].measured) for path in planned.paths
        ),
        measured=sum_measured(spending.measured for spending in spendings.values()),
        mix=_mix_shares(plan, strategy),
        branch_data=strategy.branch_data if isinstance(strategy, PathSwitching) else None,
        complete=is_complete(paradigm, run),
        releases=releases,
        matrices=forgetting_matrices(versions, releases, tasks_of(plan.config.evaluation), run.initial_heldout or {}),
        estimate=costs.estimate,
        unreleased=costs.unreleased,
        cumulative_steps=_cumulative_steps(costs.versions),
        ratios=ratios,
    )


def is_complete(paradigm: Paradigm, run: RunRecords) -> bool:
    """Return True if every path of the paradigm is trained and evaluated."""
    return all(run.statuses[path.name].state == "complete" for path in paradigm.paths)


def _mix_shares(plan: Plan, strategy: Strategy) -> dict[str, MixShares] | None:
    if not isinstance(strategy, Mixing):
        return None
    mixes = {increment.version: strategy.mix_of(increment.version) for increment in plan.increments}
    return {
        version: MixShares(mix.new, mix.replay, mix.rehearsal, mix.sets or None, mix.extra or None)
        for version, mix in mixes.items()
    }


def _cumulative_steps(versions: Mapping[str, VersionCosts]) -> dict[str, int]:
    sums = accumulate(int(costs.marginal.steps) for costs in versions.values())
    return dict(zip(versions, sums, strict=True))


def measured_ratios(
    paradigms: Sequence[Paradigm], spendings: Mapping[str, Mapping[str, PathSpending]], run: RunRecords
) -> dict[str, MeasuredRatios]:
    """Return the ratios of every paradigm, by name. spendings: by paradigm, then by path."""
    kinds = {paradigm.name: paradigm.kind for paradigm in paradigms}
    measured = {
        paradigm.name: cost
        for paradigm in paradigms
        if is_complete(paradigm, run)
        # Checkpoints without their ledger are complete, but not measured.
        and (cost := sum_measured(spending.measured for spending in spendings[paradigm.name].values())) is not None
    }
    training = {name: cost.training_hours for name, cost in measured.items()}
    allocated = {name: cost.device_hours for name, cost in measured.items()}
    return {
        name: MeasuredRatios(
            training_to_ptfs=_ratio_to("ptfs", name, kinds, training),
            training_to_cpt=_ratio_to("cpt", name, kinds, training),
            allocated_to_ptfs=_ratio_to("ptfs", name, kinds, allocated),
            allocated_to_cpt=_ratio_to("cpt", name, kinds, allocated),
        )
        for name in kinds
    }


def _ratio_to(kind: str, name: str, kinds: Mapping[str, str], hours: Mapping[str, float]) -> float | None:
    """Return the hours of a paradigm over those of the first paradigm of a kind; None if either is unknown or 0."""
    base = next((of_kind for other, of_kind in hours.items() if kinds[other] == kind and of_kind), None)
    own = hours.get(name)
    return own / base if own and base else None
