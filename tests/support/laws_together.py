"""A plan with average, guard, held-out curve and an amendment, and everything that runs of it must agree on.

Main has 28 steps, forks at 8 and 28 and saves after every fifth. It is taken back to step 10, after branch-v1 has
forked and before branch-v2 does.
"""

from __future__ import annotations

from math import inf, nan
from pathlib import Path
from typing import Any

from lrps.config.loader import load_config
from lrps.ledger.metrics import read_metrics
from lrps.ledger.reader import evaluations, read_ledger
from lrps.ledger.totals import total
from lrps.paths.amendments import Amendment
from lrps.plan.plan import Plan, make_plan
from lrps.store.checkpoints import complete_checkpoints
from support.values_digests import values_digests

PATHS = ("main", "branch-v1", "branch-v2")
WILD = {0: nan, 4: inf, 7: nan, 9: 40.0, 17: 40.0, 18: nan, 26: 40.0, 30: nan, 37: 40.0}
"""Step -> what its loss is above, or times, the computed one."""
CHANGE = Amendment(10, skip_from=12, skip=3, peak_lr=1e-4, for_steps=9, clip_grad_norm=0.1, reason="spike")
SKIPPED_BY_MAIN = [[0, 0], [4, 4], [7, 7], [9, 9], [12, 14], [17, 18], [26, 26]]
SKIPPED_BY_BRANCH = [*SKIPPED_BY_MAIN, [30, 30], [37, 37]]


def planned(file: Path, runs: Path, *settings: str) -> Plan:
    """Return the plan of a tiny config."""
    together = (
        "guard.action=skip",
        "average={ema: {horizon: 0.5}}",
        "evaluation.main_every_steps=3",
        "checkpoint={every_steps: 5, keep_every_steps: 5, keep_for_rewind: false}",
        "track.log_every_steps=1",
    )
    return make_plan(load_config(file, [f"runs={runs}", *together, *settings]))


def everything(plan: Plan) -> dict[str, Any]:
    """Weights, moments and averages of all pinned states with the guard's window; losses, rates and evaluations."""
    found: dict[str, Any] = {}
    for name in PATHS:
        layout = plan.layout.path(name)
        for saved in complete_checkpoints(layout.branch_points):
            found[f"{name} {saved.step}"] = (values_digests(saved), saved.identity)
        found[f"{name} metrics"] = [(m.step, m.loss, m.lr, m.grad_norm) for m in read_metrics(layout.metrics)]
        evaluated = evaluations(read_ledger(layout.ledger))
        found[f"{name} evaluations"] = {key: (each.loss, each.rows) for key, each in evaluated.items()}
        found[f"{name} skipped"] = total(read_ledger(layout.ledger)).skipped
    return found
