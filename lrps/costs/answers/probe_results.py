"""Results of probes: the loss of each on every held-out set beside that of its control."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lrps.costs.measured_cost import MeasuredCost
from lrps.costs.path_spending import RunRecords
from lrps.paths.graph import Probe, TrainingPath
from lrps.plan.plan import Plan


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


@dataclass(frozen=True)
class ProbeResult:
    """What a probe shows about its data."""

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


def probe_results(plan: Plan, run: RunRecords, measured: Mapping[str, MeasuredCost]) -> tuple[ProbeResult, ...]:
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
        )
        for probe in plan.graph.probes
    )


def _losses(plan: Plan, run: RunRecords, probe: Probe) -> dict[str, ProbeLoss]:
    own, control = _found(run, probe.path), _found(run, probe.control)
    sets = [source.name for source in (*plan.config.data.versions, *plan.config.data.candidates)]
    found = {}
    for name in sets:
        # Evaluations of other sequences than those of the control do not compare.
        loss, digest = own.get(name, (None, None))
        control_loss, control_digest = control.get(name, (None, None))
        if loss is not None and control_loss is not None and digest == control_digest:
            found[name] = ProbeLoss(loss, control_loss, loss - control_loss)
        else:
            found[name] = ProbeLoss(loss, control_loss, None)
    return found


def _found(run: RunRecords, path: TrainingPath) -> dict[str, tuple[float, tuple[str, int]]]:
    """Return held-out set -> loss of a path's last state, and the identity of the sequences that it is on."""
    return {
        heldout: (evaluation.loss, (evaluation.manifest_sha256, evaluation.rows))
        for (step, heldout), evaluation in run.statuses[path.name].evaluations.items()
        if step == path.stop
    }
