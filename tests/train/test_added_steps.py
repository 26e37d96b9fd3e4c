"""Steps that a mix adds (`extra`): trained, resumed, accounted for and audited as all other steps of their path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lrps.audit.run import audit_run
from lrps.config.loader import load_config
from lrps.costs.comparison import make_comparison
from lrps.ledger.metrics import read_metrics
from lrps.ledger.reader import read_ledger
from lrps.ledger.totals import total
from lrps.plan.plan import Plan, make_plan
from lrps.plan.status import path_status
from lrps.store.checkpoints import complete_checkpoints
from support.plain_engine import run
from support.values_digests import values_digests

PATHS = ("main", "branch-v1", "branch-v2", "cpt-v1", "cpt-v2")
ROW_TOKENS, ROWS = 16, 4


def planned(file: Path, runs: Path) -> Plan:
    paradigms = "{path-switching: {mix: {extra: {v1: 0.25}}}, cpt: {mix: {extra: {v1: 0.25}}}}"
    return make_plan(load_config(file, [f"runs={runs}", f"paradigms={paradigms}", "checkpoint={every_steps: 5}"]))


def everything(plan: Plan) -> dict[str, Any]:
    """Weights and moments of all pinned states, and losses and rates of all steps."""
    found: dict[str, Any] = {}
    for name in PATHS:
        layout = plan.layout.path(name)
        found |= {f"{name} {each.step}": values_digests(each) for each in complete_checkpoints(layout.branch_points)}
        found[name] = [(m.step, m.loss, m.lr) for m in read_metrics(layout.metrics)]
    return found


@pytest.fixture(scope="module")
def straight(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    plan = planned(tiny_config, tmp_path_factory.mktemp("straight"))
    assert run(plan, *PATHS)
    return plan


def test_a_path_with_added_steps_that_is_broken_off_anywhere_is_the_straight_one(
    straight: Plan, tiny_config: Path, tmp_path: Path
) -> None:
    plan = planned(tiny_config, tmp_path)
    assert run(plan, "main", "branch-v1", "cpt-v1")
    for name in ("branch-v2", "cpt-v2"):
        path = plan.graph.by_name[name]
        while path_status(plan, path).step < path.stop - 1:
            assert not run(plan, name, stop_after=1)
        assert run(plan, name)
    assert everything(plan) == everything(straight)


def test_added_steps_are_planned_booked_and_audited(straight: Plan) -> None:
    paths = straight.graph.by_name
    spans = {name: (paths[name].start, paths[name].stop) for name in ("branch-v1", "branch-v2", "cpt-v2")}
    assert spans == {"branch-v1": (8, 20), "branch-v2": (28, 43), "cpt-v2": (20, 45)}
    audit = audit_run(straight.layout.run_dir, Path(straight.config.data.root))
    assert audit.differences == ()
    for name, added in (("branch-v2", 3), ("cpt-v2", 5)):
        counters = total(read_ledger(straight.layout.path(name).ledger)).spent
        assert counters.tokens == paths[name].steps * ROWS * ROW_TOKENS
        assert counters.replayed_tokens == added * ROWS * ROW_TOKENS
    found = make_comparison(straight).paradigms
    assert found["path-switching"].plan.cost.steps == 28 + 12 + 15
    assert found["cpt"].plan.cost.steps == 20 + 25
    assert found["cpt"].mix is not None
    assert found["cpt"].mix["v2"].extra == {"v1": 0.25}
