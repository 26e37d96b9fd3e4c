"""Comparison of the paradigms of several runs: measured costs where they ran, modelled costs where they did not.

A run's path switching is always compared with PTFS and CPT: a kind of which a run has no paradigm is compiled from its
config with default settings, and modelled. Steps, tokens and FLOPs of a paradigm that was trained to its end are those
really spent; of the others they are the plan's. Ratios are within a run, to its first PTFS and its first CPT.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from lrps import __version__
from lrps.base.document import OPTIONAL, key
from lrps.base.errors import ConfigError
from lrps.config.strategies import Cpt, PathSwitching, Ptfs, Strategy
from lrps.costs.comparison import Comparison, make_comparison
from lrps.costs.estimate import CostRate
from lrps.costs.paradigm_costs import ParadigmCosts
from lrps.costs.path_spending import RunRecords
from lrps.costs.rehearsal_cost import rehearsal_lines
from lrps.costs.tagged_cost import Basis, TaggedCost
from lrps.plan.plan import Plan

_DEFAULTS: Mapping[str, Callable[[], Strategy]] = {
    "path-switching": lambda: PathSwitching(kind="path-switching"),
    "ptfs": lambda: Ptfs(kind="ptfs"),
    "cpt": lambda: Cpt(kind="cpt"),
}


@dataclass(frozen=True)
class ComparedValue:
    """Value with its basis."""

    value: int | float | None
    """Value; null if it is not known."""
    basis: Basis | Literal["n/a"]
    """`measured`, or `modelled` if any part is; `n/a` without a value."""


@dataclass(frozen=True)
class ComparedValues:
    """Values of one paradigm of one run."""

    steps: ComparedValue
    """Optimizer steps."""
    tokens: ComparedValue
    """Tokens trained on."""
    flops: ComparedValue
    """Model FLOPs of the tokens."""
    device_hours: ComparedValue
    """Allocated device-hours."""
    money: ComparedValue
    """Price of the device-hours, in the currency of the run."""
    energy_kwh: ComparedValue
    """Energy in kWh."""
    goodput: ComparedValue
    """Share of the device-hours in optimizer steps that were not lost."""
    ratio_to_ptfs: ComparedValue
    """Device-hours in optimizer steps over those of PTFS; of steps where no time is known."""
    ratio_to_cpt: ComparedValue
    """Device-hours in optimizer steps over those of CPT; of steps where no time is known."""
    allocated_ratio_to_ptfs: ComparedValue = field(metadata=key("held_ratio_to_ptfs"))
    """Allocated device-hours over those of PTFS, where both were measured to their end."""
    allocated_ratio_to_cpt: ComparedValue = field(metadata=key("held_ratio_to_cpt"))
    """Allocated device-hours over those of CPT, where both were measured to their end."""
    seen_loss: ComparedValue
    """Mean loss of the newest version on the held-out sets of all versions, in nats per token."""


@dataclass(frozen=True)
class ComparedParadigm:
    """Paradigm of one of the runs."""

    run: str
    """Name of the run among those compared."""
    paradigm: str
    """Name of the paradigm."""
    kind: str
    """Kind of the paradigm: path-switching, ptfs, cpt or wsd-s."""
    in_config: bool
    """Whether the config of the run has it; otherwise it was added for the comparison."""
    values: ComparedValues = field(metadata=key("cells"))
    """Values with their basis."""


@dataclass(frozen=True)
class ComparedRun:
    """One of the runs that are compared."""

    name: str
    """Name of the plan, or the directory of the run if several have that name."""
    run_dir: str
    """Directory of the run."""
    versions: tuple[str, ...]
    """Names of its versions, oldest first."""
    flops_per_token: int | None
    """Model FLOPs of one token; null if they are not known."""
    tokens_per_step: int
    """Tokens of one optimizer step."""
    currency: str | None
    """Currency of its prices; null without a price."""
    device: str | None
    """Device that its estimates are for; null if it is not known."""
    cost_model: CostRate
    """Cost of one token in estimates, and its basis."""
    unequal_speed: float | None = field(default=None, metadata=OPTIONAL)
    """Slowest over fastest cost of a FLOP among its paths, if they ran at unequal speeds; null if they did not. Ratios
    of its device-hours then compare machines as well."""


@dataclass(frozen=True)
class CompareDocument:
    """Paradigms of one or several runs side by side."""

    FORMAT: ClassVar[str] = "lrps-compare/1"

    runs: tuple[ComparedRun, ...]
    """Runs in the order in which they were named."""
    rows: tuple[ComparedParadigm, ...]
    """Paradigms of the first run, then of the second, and so on."""
    notes: tuple[str, ...]
    """Sentences about single runs, and about differences that limit the comparison."""
    lrps_version: str = field(metadata=key("lrps"))
    """Version of lrps that made the comparison."""


def compare_runs(plans: Sequence[Plan]) -> CompareDocument:
    """Return the comparison of the paradigms of several runs.

    A run that measured nothing is estimated from the measurements of the others, if its hardware may be theirs. Raises
    LedgerError for a ledger that was changed.
    """
    samples = [RunRecords.read(plan).samples for plan in plans]
    runs: list[ComparedRun] = []
    rows: list[ComparedParadigm] = []
    notes: list[str] = []
    for index, plan in enumerate(plans):
        others = [sample for i, of_run in enumerate(samples) if i != index for sample in of_run]
        completed, missing = _with_all_kinds(plan)
        comparison = make_comparison(completed, others)
        name = _label(plans, index)
        runs.append(_run(name, plan, comparison))
        rows += _rows(name, plan, comparison)
        rehearsal = rehearsal_lines(comparison.rehearsal_cost, comparison.plan.currency)
        notes += [f"{name}: {why}" for why in (*missing, *rehearsal)]
    return CompareDocument(tuple(runs), tuple(rows), (*notes, *_differences(runs)), __version__)


def _label(plans: Sequence[Plan], index: int) -> str:
    names = [plan.config.name for plan in plans]
    return names[index] if names.count(names[index]) == 1 else str(plans[index].layout.run_dir)


def _with_all_kinds(plan: Plan) -> tuple[Plan, list[str]]:
    """Return the plan with path switching, PTFS and CPT in it, and the reason for each that cannot be added."""
    missing = []
    for kind, strategy in _DEFAULTS.items():
        if any(each.kind == kind for each in plan.graph.paradigms):
            continue
        name = kind if kind not in plan.config.paradigms else f"{kind}-default"
        paradigms = {**plan.config.paradigms, name: strategy()}
        more = replace(plan, config=plan.config.model_copy(update={"paradigms": paradigms}))
        try:
            plan = more if more.graph.paths else plan
        except ConfigError as error:
            missing.append(f"no {kind} beside it: {error}")
    return plan, missing


def _run(name: str, plan: Plan, comparison: Comparison) -> ComparedRun:
    return ComparedRun(
        name=name,
        run_dir=comparison.plan.run_dir,
        versions=tuple(version.name for version in comparison.plan.versions),
        flops_per_token=comparison.plan.flops_per_token,
        tokens_per_step=plan.config.tokens_per_step,
        currency=comparison.plan.currency,
        device=comparison.cost_model.device,
        cost_model=comparison.cost_model,
        unequal_speed=comparison.pace.spread if comparison.pace.unequal else None,
    )


def _rows(run: str, plan: Plan, comparison: Comparison) -> list[ComparedParadigm]:
    paradigms = comparison.paradigms
    ptfs, cpt = (
        next((paradigm.whole for paradigm in paradigms.values() if paradigm.plan.kind == kind), None)
        for kind in ("ptfs", "cpt")
    )
    return [
        ComparedParadigm(run, name, paradigm.plan.kind, name in plan.config.paradigms, _values(paradigm, ptfs, cpt))
        for name, paradigm in paradigms.items()
    ]


def _values(paradigm: ParadigmCosts, ptfs: TaggedCost | None, cpt: TaggedCost | None) -> ComparedValues:
    cost, ratios = paradigm.whole, paradigm.ratios
    exact: Basis = "measured" if paradigm.estimate is None else "modelled"
    return ComparedValues(
        steps=_value(cost.steps, exact),
        tokens=_value(cost.tokens, exact),
        flops=_value(cost.flops, exact),
        device_hours=_value(cost.device_hours, cost.basis),
        money=_value(cost.money, cost.basis),
        energy_kwh=_value(cost.energy_kwh, cost.basis),
        goodput=_value(paradigm.measured.goodput if paradigm.measured else None, "measured"),
        ratio_to_ptfs=_ratio(cost, ptfs),
        ratio_to_cpt=_ratio(cost, cpt),
        allocated_ratio_to_ptfs=_value(ratios.allocated_to_ptfs, "measured"),
        allocated_ratio_to_cpt=_value(ratios.allocated_to_cpt, "measured"),
        seen_loss=_value(paradigm.releases[-1].seen_loss, "measured"),
    )


def _value(value: int | float | None, basis: Basis | None) -> ComparedValue:
    return ComparedValue(value, "n/a" if value is None or basis is None else basis)


def _ratio(cost: TaggedCost, base: TaggedCost | None) -> ComparedValue:
    if base is None:
        return _value(None, None)
    if not (cost.training_hours and base.training_hours):
        return _value(cost.steps / base.steps, "modelled")
    both_measured = cost.basis == base.basis == "measured"
    return _value(cost.training_hours / base.training_hours, "measured" if both_measured else "modelled")


def _differences(runs: Sequence[ComparedRun]) -> list[str]:
    """Return a sentence about what keeps rows of different runs from being compared, if anything does."""
    facts: Mapping[str, Collection[object]] = {
        "model": {run.flops_per_token for run in runs},
        "device": {run.device for run in runs},
        "currency": {run.currency for run in runs},
        "batch": {run.tokens_per_step for run in runs},
    }
    differ = [name for name, values in facts.items() if len(values) > 1]
    if not differ:
        return []
    return [f"The runs differ in {', '.join(differ)}: ratios hold within a run; costs of different runs tell little."]
