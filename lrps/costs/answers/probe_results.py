"""Results of probes: the loss of each on every held-out set, and its scores on tasks, beside those of its control."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import hypot

from lrps.base.document import OPTIONAL
from lrps.costs.curves.measured_losses import losses_of_rows
from lrps.costs.curves.paired_difference import mean_and_error
from lrps.costs.measured_cost import MeasuredCost
from lrps.costs.path_spending import RunRecords
from lrps.ledger.reader import RAW, HeldoutEvaluation
from lrps.paths.graph import Probe, TrainingPath
from lrps.plan.plan import Plan
from lrps.plan.scores import MetricResult, ScoresOfStates
from lrps.plan.tasks import tasks_of


@dataclass(frozen=True)
class ProbeLoss:
    """Loss of a probe on a held-out set, in nats per predicted token, beside that of its control. Null: not
    evaluated."""

    loss: float | None
    """Loss at the end of the probe."""
    control_loss: float | None
    """Loss at the end of the control, on the same sequences."""
    difference: float | None
    """Loss of the probe minus that of the control: below 0, the data of the probe is worth more for this set."""
    standard_error: float | None
    """Standard error of the difference over the sequences; null without the losses of single sequences."""


@dataclass(frozen=True)
class ProbeScore:
    """Score of a probe by one metric of a task, beside that of its control. Null: not scored."""

    value: float | None
    """Score of the last state of the probe."""
    control_value: float | None
    """Score of the last state of the control, on the same examples."""
    difference: float | None
    """Score of the probe minus that of the control."""
    standard_error: float | None
    """Standard error of the difference as if both had been scored on different examples: too large where the two answer
    alike; null where that of a score is unknown."""
    higher_is_better: bool
    """True if the data of the probe is worth more where the difference is above 0."""


@dataclass(frozen=True)
class ProbeResult:
    """Result of a probe: what its data is worth beside the control."""

    name: str
    """Name in the config."""
    path: str
    """Name of its path."""
    control: str
    """Name of the path of its control."""
    step: int
    """Step of the main path that both fork from."""
    steps: int
    """Number of steps of each."""
    shares: Mapping[str, float]
    """Share of its sequences of each set."""
    heldout: Mapping[str, ProbeLoss]
    """Losses by held-out set: those of the versions, then those of the candidate sets."""
    measured: MeasuredCost | None
    """Cost of all attempts at its path, without the control; null before the first one."""
    scores: Mapping[str, Mapping[str, ProbeScore]] = field(default_factory=dict, metadata=OPTIONAL)
    """Scores by task, then by metric, as far as the probe or its control was scored (`lrps score`)."""


def probe_results(
    plan: Plan, run: RunRecords, measured: Mapping[str, MeasuredCost], scores: ScoresOfStates
) -> tuple[ProbeResult, ...]:
    """Return the results of all probes of a plan. measured: cost of each path, by name."""
    return tuple(
        ProbeResult(
            name=probe.name,
            path=probe.path.name,
            control=probe.control.name,
            step=probe.path.start,
            steps=probe.path.steps,
            shares=plan.config.probes[probe.name].data,
            heldout=_losses(plan, run, probe),
            measured=measured[probe.path.name] if run.statuses[probe.path.name].totals.attempts else None,
            scores=_scores(plan, probe, scores),
        )
        for probe in plan.graph.probes
    )


def _losses(plan: Plan, run: RunRecords, probe: Probe) -> dict[str, ProbeLoss]:
    own, control = _found(run, probe.path), _found(run, probe.control)
    sets = [source.name for source in (*plan.config.data.versions, *plan.config.data.candidates)]
    return {name: _loss(plan, probe, own.get(name), control.get(name)) for name in sets}


def _found(run: RunRecords, path: TrainingPath) -> dict[str, HeldoutEvaluation]:
    """Return held-out set -> evaluation of the weights of a path's last state."""
    found = run.statuses[path.name].evaluations
    return {key.heldout: each for key, each in found.items() if (key.step, key.form) == (path.stop, RAW)}


def _loss(plan: Plan, probe: Probe, own: HeldoutEvaluation | None, control: HeldoutEvaluation | None) -> ProbeLoss:
    """Return both losses on a set; their difference only if they are on the same sequences."""
    if own is None or control is None or (own.manifest_sha256, own.rows) != (control.manifest_sha256, control.rows):
        loss, control_loss = (None if found is None else found.loss for found in (own, control))
        return ProbeLoss(loss, control_loss, difference=None, standard_error=None)
    pair = losses_of_rows(plan, probe.path.name, own), losses_of_rows(plan, probe.control.name, control)
    error = None
    if pair[0] is not None and pair[1] is not None:
        _, error = mean_and_error([a - b for a, b in zip(pair[0], pair[1], strict=True)])
    return ProbeLoss(own.loss, control.loss, own.loss - control.loss, error)


def _scores(plan: Plan, probe: Probe, scores: ScoresOfStates) -> dict[str, dict[str, ProbeScore]]:
    own, control = (scores.get((path.name, path.stop, RAW), {}) for path in (probe.path, probe.control))
    found: dict[str, dict[str, ProbeScore]] = {}
    for task in tasks_of(plan.config.evaluation):
        one, other = (of[task].results if task in of else {} for of in (own, control))
        for metric in dict.fromkeys([*one, *other]):
            found.setdefault(task, {})[metric] = _score(one.get(metric), other.get(metric))
    return found


def _score(own: MetricResult | None, control: MetricResult | None) -> ProbeScore:
    """Return both results of a metric, at least one of which is known, with their difference."""
    known = own or control
    assert known is not None, "a metric that one of them was scored by"
    value, control_value = (None if result is None else result.value for result in (own, control))
    difference = error = None
    if own is not None and control is not None:
        difference = own.value - control.value
        if own.stderr is not None and control.stderr is not None:
            error = hypot(own.stderr, control.stderr)
    return ProbeScore(value, control_value, difference, error, known.higher_is_better)
