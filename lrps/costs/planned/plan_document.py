"""The plan document: what a plan trains and what that costs, as `lrps plan` shows it and plan.json holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from lrps.base.document import INLINE, OPTIONAL, UNLESS_NONE, key, to_json
from lrps.base.files import atomic_write_json
from lrps.costs.planned.checkpoint_disk import checkpoint_bytes, rewind_bytes
from lrps.costs.planned.checkpoint_interval import CheckpointInterval, UnknownInterval, checkpoint_interval
from lrps.costs.planned.main_watch import MainWatch, main_watches
from lrps.costs.planned.memory_forecast import MemoryForecast, memory_forecast
from lrps.costs.planned.path_plan import PathPlan, PathPlanner, RowRange, untrained_steps
from lrps.costs.planned.read_forecast import ReadForecast, read_forecasts
from lrps.paths.attribution import steps_needed
from lrps.paths.cost import Cost, CostModel, cpt_steps, ptfs_steps
from lrps.paths.graph import Graph, Paradigm, Release
from lrps.paths.increments import CandidateSet, Increment, RehearsalSet
from lrps.paths.optimizer_states import other_than_adamw
from lrps.paths.paradigms.compile import compile_paradigm
from lrps.plan.plan import Plan

NEXT = "(next)"
"""Name of a version that is not in the config; no version of a config can have this name."""


@dataclass(frozen=True)
class PartPlan:
    """A part of a mixed version or rehearsal set."""

    name: str
    """Name of its shards: <version>.<part>."""
    weight: float
    """Share among the weights of the mixture, which add up to 1."""
    rows: int
    """Number of sequences in one pass over the mixture."""
    tokens: int
    """Number of tokens of these sequences."""
    epoch_rows: int
    """Number of sequences of its shards; before they are built, the number that the mixture needs."""
    epochs: float
    """Number of passes over its shards in one pass over the mixture."""
    manifest_sha256: str | None
    """SHA-256 of the manifest of its training shards; null before they are built."""


@dataclass(frozen=True)
class VersionPlan:
    """A data version of the config, and how it fills optimizer steps."""

    name: str
    """Name in the config."""
    rows: int
    """Number of sequences of an epoch: those of its training shards, or those that `tokens` limits them to."""
    steps: int
    """Number of optimizer steps that the passes over these sequences fill."""
    tokens: int
    """Number of tokens of these steps."""
    remainder_rows: int
    """Number of sequences that do not fill a step and are not read."""
    manifest_sha256: str | None
    """SHA-256 of the manifest of its training shards, or of the description of its mixture; null before they are
    built."""
    heldout_rows: int | None = field(default=None, metadata=OPTIONAL)
    """Number of held-out sequences that models are evaluated on; 0: losses are n/a. Null before they are built."""
    epochs: float = field(default=1.0, metadata=OPTIONAL)
    """Number of passes over these sequences."""
    parts: tuple[PartPlan, ...] = field(default=(), metadata=OPTIONAL)
    """Parts of its mixture, in the order of their names; none without a mixture."""


@dataclass(frozen=True)
class RehearsalPlan:
    """A rehearsal set of the config."""

    name: str
    """Name in the config."""
    since: str
    """First version whose paths may read it."""
    rows: int
    """Number of sequences of an epoch: those of its shards, or those that `tokens` limits them to."""
    tokens: int
    """Number of tokens of these sequences."""
    manifest_sha256: str | None
    """SHA-256 of the manifest of its shards, or of the description of its mixture; null before they are built."""
    epochs: float = field(default=1.0, metadata=OPTIONAL)
    """Number of passes that it counts for when several sets divide a share."""
    parts: tuple[PartPlan, ...] = field(default=(), metadata=OPTIONAL)
    """Parts of its mixture, in the order of their names; none without a mixture."""


@dataclass(frozen=True)
class PlannedCost:
    """Cost of some optimizer steps by the config alone. Null: the config does not say what it depends on."""

    steps: int = field(metadata=key("total_steps"))
    """Number of optimizer steps."""
    tokens: int = field(metadata=key("total_tokens"))
    """Number of trained tokens."""
    flops: int | None = field(metadata=key("total_flops"))
    """Number of model FLOPs of the trained tokens."""
    device_hours: float | None
    """Number of hours of one device, by the peak FLOP/s and the MFU of the config's hardware."""
    wall_clock_hours: float | None
    """Number of hours with all devices of the config at work together."""
    money: float | None
    """Price of the device-hours, in the currency of the plan."""


@dataclass(frozen=True)
class AddedCost:
    """Cost that one version adds to a paradigm."""

    version: str
    """Name of the version; `(next)` for one that is not in the config."""
    cost: PlannedCost = field(metadata=INLINE)


@dataclass(frozen=True)
class GraphCost:
    """Cost of all paths of a plan, each counted once."""

    cost: PlannedCost = field(metadata=INLINE)
    checkpoint_bytes: int | None
    """Number of bytes on disk of the checkpoints that are kept."""
    rewind_bytes: int | None = field(default=None, metadata=OPTIONAL)
    """Number of bytes on disk of the states that main paths keep to rewind to, beside these checkpoints."""


@dataclass(frozen=True)
class ParadigmPlan:
    """One way to train all versions, and what it costs alone."""

    kind: str
    """path-switching, ptfs, matched-steps (ptfs with `steps_of`), cpt or wsd-s."""
    cost: PlannedCost = field(metadata=INLINE)
    ratio_to_ptfs: float
    """Its steps over those of PTFS."""
    ratio_to_cpt: float
    """Its steps over those of CPT."""
    checkpoint_bytes: int | None
    """Number of bytes on disk of the checkpoints that are kept."""
    steps_to_do: int
    """Number of steps that are not trained yet."""
    releases: tuple[Release, ...]
    """Released states, oldest first."""
    paths: tuple[PathPlan, ...]
    """Its paths, parents before children."""
    row_ranges: tuple[RowRange, ...] = field(default=(), metadata=OPTIONAL)
    """Rows that its paths of more than 64 ranges read; the `data_slice` of a path says which of them are its own."""
    rewind_bytes: int | None = field(default=None, metadata=OPTIONAL)
    """Number of bytes on disk of the states that main paths keep to rewind to, beside these checkpoints."""


@dataclass(frozen=True)
class CandidatePlan:
    """A candidate set of the config, which only probes read."""

    name: str
    """Name in the config."""
    rows: int
    """Number of sequences of an epoch: those of its shards, or those that `tokens` limits them to."""
    tokens: int
    """Number of tokens of these sequences."""
    manifest_sha256: str | None
    """SHA-256 of the manifest of its shards, or of the description of its mixture; null before they are built."""
    heldout_rows: int | None
    """Number of held-out sequences that probes are evaluated on; 0: losses are n/a. Null before they are built."""
    parts: tuple[PartPlan, ...]
    """Parts of its mixture, in the order of their names; none without a mixture."""


@dataclass(frozen=True)
class ProbePlan:
    """A probe of the config."""

    name: str
    """Name in the config."""
    path: str
    """Name of its path."""
    control: str
    """Name of the path of its control, which may be a branch."""
    step: int
    """Step of the main path that both fork from."""
    shares: Mapping[str, float]
    """Share of its sequences of each set."""


@dataclass(frozen=True)
class ProbesPlan:
    """The probes of a plan, which belong to no paradigm."""

    probes: tuple[ProbePlan, ...]
    """Probes in the order of the config."""
    paths: tuple[PathPlan, ...]
    """Paths that only they need: a control that is a branch is in its paradigm."""
    cost: PlannedCost = field(metadata=INLINE)
    """Cost of these paths."""
    steps_to_do: int
    """Number of their steps that are not trained yet."""
    row_ranges: tuple[RowRange, ...]
    """Rows that paths of more than 64 ranges read; the `data_slice` of a path says which of them are its own."""


@dataclass(frozen=True)
class PlanDocument:
    """A plan: its data, every path of every paradigm, and what they cost."""

    FORMAT: ClassVar[str] = "lrps-plan/1"
    name: str
    """Name of the run."""
    run_dir: str
    """Directory of the run."""
    versions: tuple[VersionPlan, ...]
    """Data versions, oldest first."""
    rehearsal: tuple[RehearsalPlan, ...]
    """Rehearsal sets."""
    flops_per_token: int | None
    """Number of model FLOPs of one trained token; null where the model's shape is not known."""
    currency: str | None
    """Currency of all money; null without a price."""
    paradigms: Mapping[str, ParadigmPlan]
    """Paradigms by name, in the order of the config."""
    marginal: Mapping[str, AddedCost] | None
    """Cost that the last version adds to each paradigm; null for a plan of one version."""
    next: Mapping[str, AddedCost]
    """Cost that one more version, of the size of the last one, would add to each paradigm."""
    graph: GraphCost
    """All paths, each counted once."""
    to_do: PlannedCost
    """Cost of the steps that are not trained yet."""
    checkpoint_interval: CheckpointInterval | UnknownInterval | None
    """How often to save; null without a failure rate in the config."""
    memory: MemoryForecast | None
    """Memory of one device; null where it cannot be computed."""
    watching: Mapping[str, MainWatch] = field(default_factory=dict, metadata=OPTIONAL)
    """Evaluations of main paths while they are trained, by the name of the path; their cost is in no other cost."""
    candidates: tuple[CandidatePlan, ...] | None = field(default=None, metadata=UNLESS_NONE)
    """Candidate sets; the key is absent without any."""
    probes: ProbesPlan | None = field(default=None, metadata=UNLESS_NONE)
    """Probes; the key is absent without any."""
    reads: tuple[ReadForecast, ...] | None = field(default=None, metadata=UNLESS_NONE)
    """Sources that are larger than the memory of a host and read in the order `full`; the key is absent without any."""
    optimizer: str | None = field(default=None, metadata=UNLESS_NONE)
    """Kind of optimizer; the key is absent for AdamW."""


@dataclass(frozen=True)
class PlanFile:
    """plan.json of a run: the resolved config, the plan and what costs are computed with."""

    FORMAT: ClassVar[str] = "lrps-plan-file/1"
    config: Mapping[str, Any]
    """The config with all defaults, as configs/schema.json describes it."""
    plan: PlanDocument
    """The plan as `lrps plan --json` prints it before anything is trained."""
    costs: CostModel
    """Factors that turn steps into costs."""
    paradigms: tuple[str, ...]
    """Names of the paradigms in the order of the config."""


def plan_document(plan: Plan, done_steps: Mapping[str, int] | None = None) -> PlanDocument:
    """Return everything a plan says.

    done_steps: path name -> lineage step that exists already; it turns totals into what is still to do.
    """
    done = dict(done_steps or {})
    to_do = sum(untrained_steps(path, done) for path in plan.graph.paths)
    return PlanDocument(
        name=plan.config.name,
        run_dir=str(plan.layout.run_dir),
        versions=tuple(_version(plan, increment) for increment in plan.increments),
        rehearsal=tuple(_rehearsal(plan, each) for each in plan.rehearsal),
        flops_per_token=plan.costs.flops_per_token,
        currency=plan.costs.currency,
        paradigms={paradigm.name: _paradigm(plan, paradigm, done) for paradigm in plan.graph.paradigms},
        marginal=_marginal(plan),
        next=_next(plan),
        graph=GraphCost(
            _cost(plan, plan.graph.total_steps),
            checkpoint_bytes(plan, plan.graph),
            rewind_bytes(plan, plan.graph),
        ),
        to_do=_cost(plan, to_do),
        checkpoint_interval=checkpoint_interval(plan),
        memory=memory_forecast(plan),
        watching=main_watches(plan),
        candidates=tuple(_candidate(plan, each) for each in plan.candidates) or None,
        probes=_probes(plan, done) if plan.graph.probes else None,
        reads=read_forecasts(plan) or None,
        optimizer=other_than_adamw(plan.config.optimizer.kind),
    )


def _cost(plan: Plan, steps: int) -> PlannedCost:
    cost = plan.costs.of(steps)
    hours = wall_clock_hours(plan, cost)
    return PlannedCost(cost.steps, cost.tokens, cost.flops, cost.device_hours, hours, cost.money)


def wall_clock_hours(plan: Plan, cost: Cost) -> float | None:
    """Return the hours that a cost takes with all devices of the config at work together; None if not known."""
    hardware = plan.config.hardware
    return None if cost.device_hours is None or hardware is None else cost.device_hours / hardware.devices


def _version(plan: Plan, increment: Increment) -> VersionPlan:
    return VersionPlan(
        name=increment.version,
        rows=increment.rows,
        steps=increment.steps,
        tokens=increment.steps * plan.config.tokens_per_step,
        remainder_rows=increment.planned_rows - increment.used(plan.config.batch.sequences),
        manifest_sha256=_manifest_sha256(plan, increment.version),
        heldout_rows=_heldout_rows(plan, increment.version),
        epochs=float(increment.epochs),
        parts=_parts(plan, increment.version),
    )


def _heldout_rows(plan: Plan, version: str) -> int | None:
    if version not in plan.sources:
        return None
    return plan.heldout_rows(version) if version in plan.all_heldout else 0


def _rehearsal(plan: Plan, each: RehearsalSet) -> RehearsalPlan:
    tokens = each.rows * plan.config.data.sequence_length
    sha256, parts = _manifest_sha256(plan, each.name), _parts(plan, each.name)
    return RehearsalPlan(each.name, each.since, each.rows, tokens, sha256, float(each.epochs), parts)


def _candidate(plan: Plan, each: CandidateSet) -> CandidatePlan:
    tokens, sha256 = each.rows * plan.config.data.sequence_length, _manifest_sha256(plan, each.name)
    return CandidatePlan(each.name, each.rows, tokens, sha256, _heldout_rows(plan, each.name), _parts(plan, each.name))


def _probes(plan: Plan, done: Mapping[str, int]) -> ProbesPlan:
    planner, paths = PathPlanner(plan, done), plan.graph.probe_paths
    return ProbesPlan(
        probes=tuple(
            ProbePlan(each.name, each.path.name, each.control.name, each.path.start, plan.config.probes[each.name].data)
            for each in plan.graph.probes
        ),
        paths=tuple(map(planner.plan_of, paths)),
        cost=_cost(plan, sum(path.steps for path in paths)),
        steps_to_do=sum(untrained_steps(path, done) for path in paths),
        row_ranges=tuple(planner.row_ranges),
    )


def _parts(plan: Plan, source: str) -> tuple[PartPlan, ...]:
    length, manifests = plan.config.data.sequence_length, plan.manifests
    return tuple(
        PartPlan(
            name=share.name,
            weight=float(share.weight),
            rows=share.count,
            tokens=share.count * length,
            epoch_rows=share.rows,
            epochs=float(share.epochs),
            manifest_sha256=manifests[share.name].sha256 if share.name in manifests else None,
        )
        for share in plan.mixtures.get(source, ())
    )


def _manifest_sha256(plan: Plan, source: str) -> str | None:
    return plan.sources[source].sha256 if source in plan.sources else None


def _paradigm(plan: Plan, paradigm: Paradigm, done: Mapping[str, int]) -> ParadigmPlan:
    steps = [increment.steps for increment in plan.increments]
    planner = PathPlanner(plan, done)
    paths = tuple(map(planner.plan_of, paradigm.paths))
    return ParadigmPlan(
        kind=paradigm.kind,
        cost=_cost(plan, paradigm.total_steps),
        ratio_to_ptfs=paradigm.total_steps / ptfs_steps(steps),
        ratio_to_cpt=paradigm.total_steps / cpt_steps(steps),
        checkpoint_bytes=checkpoint_bytes(plan, Graph((paradigm,))),
        steps_to_do=sum(untrained_steps(path, done) for path in paradigm.paths),
        releases=paradigm.releases,
        paths=paths,
        row_ranges=tuple(planner.row_ranges),
        rewind_bytes=rewind_bytes(plan, Graph((paradigm,))),
    )


def _marginal(plan: Plan) -> dict[str, AddedCost] | None:
    if len(plan.increments) < 2:
        return None
    added = {
        paradigm.name: paradigm.total_steps - steps_needed(paradigm, paradigm.releases[:-1])
        for paradigm in plan.graph.paradigms
    }
    return {name: AddedCost(plan.increments[-1].version, _cost(plan, steps)) for name, steps in added.items()}


def _next(plan: Plan) -> dict[str, AddedCost]:
    increments = (*plan.increments, replace(plan.increments[-1], version=NEXT))
    # Which names the paths share does not matter here.
    longer = {name: compile_paradigm(plan.config, name, increments, plan.rehearsal) for name in plan.config.paradigms}
    return {
        paradigm.name: AddedCost(NEXT, _cost(plan, longer[paradigm.name].total_steps - paradigm.total_steps))
        for paradigm in plan.graph.paradigms
    }


def write_plan_json(plan: Plan) -> None:
    """Write <run>/plan.json, so that a copied run explains itself (costs/recorded_plan.py)."""
    # JSON's sorted keys do not keep the order of the paradigms.
    names = tuple(plan.config.paradigms)
    document = PlanFile(plan.config.model_dump(mode="json"), plan_document(plan), plan.costs, names)
    plan.layout.run_dir.mkdir(parents=True, exist_ok=True)
    atomic_write_json(plan.layout.plan_json, to_json(document))
