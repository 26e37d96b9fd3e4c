"""Runs of path switching whose held-out losses follow the law of lrps.forecast, written by the real ledger writer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from lrps.config.models import Config
from lrps.data.sources import DataSource
from lrps.forecast.branch import BranchPlan
from lrps.ledger.records import FORMAT, Counters
from lrps.ledger.writer import LedgerWriter
from lrps.plan.plan import Plan, make_plan
from support.synthetic_run import manifest
from support.values import config_values

STEPS = 4_000
"""Steps of an increment: 64,000 tokens of 16 a step."""
EVERY = 250
"""Steps of the main path between two evaluations."""
ROWS = 100
"""Number of held-out sequences of a version."""
GAIN = 0.06

Loss = Callable[[str, float], float]
"""Function from a held-out set and a step to the loss of the main path."""


def main_loss(heldout: str, step: float) -> float:
    """Return the loss of the main path on the set of version vK, which is .1 higher for every version."""
    return 2.7 + 0.1 * int(heldout[1:]) + 12 * step**-0.5


def branch_loss(heldout: str, fork: int, steps: int, shape: str = "linear", main: Loss = main_loss) -> float:
    """Return the final loss of a branch by the law."""
    branch = BranchPlan(fork, steps, shape)
    return main(heldout, branch.main_step) - GAIN * branch.gain_factor


def forecast_plan(root: Path, versions: int = 4, **changes: object) -> Plan:
    """Return a plan of equal versions with held-out sets; the branch of version k forks at 4,000 k - 2,400."""
    data = {
        "root": "nowhere",
        "sequence_length": 8,
        "versions": [{"name": f"v{k}", "tokens": 16 * STEPS} for k in range(1, versions + 1)],
    }
    schedule = {"peak_lr": 1e-2, "warmup_steps": 100}
    plan = make_plan(Config.model_validate(config_values(runs=str(root), data=data, schedule=schedule, **changes)))
    names = [increment.version for increment in plan.increments]
    vars(plan)["heldout"] = {name: DataSource.plain(manifest(name, ROWS), ROWS) for name in names}
    return plan


def write_losses(
    plan: Plan, name: str, losses: Iterable[tuple[int, Mapping[str, float]]], *, ends: bool = True
) -> None:
    """Write the ledger of an attempt at a path: its evaluations as (step, losses by held-out set).

    ends: whether the attempt has ended.
    """
    path = plan.graph.by_name[name]
    ledger, counters = LedgerWriter(plan.layout.path(name).ledger), Counters()
    ledger.append(
        "start", path.start, counters, format=FORMAT, path=name, path_start=path.start, device="cpu", processes=1
    )
    step = path.start
    for step, found in losses:
        counters.steps = step - path.start
        for heldout, loss in found.items():
            sha256 = plan.heldout[heldout].sha256
            facts = {"heldout": heldout, "manifest_sha256": sha256, "loss": loss, "bits_per_byte": loss}
            ledger.append("evaluation", step, counters, rows=ROWS, tokens=7 * ROWS, **facts)
    if ends:
        ledger.append("stop", step, counters, outcome="complete")
    ledger.close()


def write_main(plan: Plan, known: int, main: Loss = main_loss) -> None:
    """Write the main path's losses on all held-out sets, every EVERY steps up to `known`."""
    steps = range(EVERY, known + 1, EVERY)
    write_losses(plan, "main", ((t, {name: main(name, t) for name in plan.heldout}) for t in steps))


def write_branch(plan: Plan, version: str, main: Loss = main_loss, off: float = 0.0) -> None:
    """Write the final losses of a version's branch: those of the law, and `off` more."""
    path = plan.graph.by_name[f"branch-{version}"]
    losses = {
        name: branch_loss(name, path.start, path.steps, main=main) + off
        for name in plan.heldout_versions(version)
        if name in plan.heldout
    }
    write_losses(plan, path.name, [(path.stop, losses)])
