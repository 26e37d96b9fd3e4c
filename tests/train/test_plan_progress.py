"""Progress of the whole plan while one process group trains."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from lrps.config.launching import LaunchConfig
from lrps.plan.plan import Plan, make_plan
from lrps.train.account import DeviceClock
from lrps.train.plan_progress import PlanProgress, plan_progress
from support.measured_run import Run, config

PRICED = {
    "device": "cpu",
    "price_per_device_hour": {"amount": 2.0, "currency": "EUR", "source": "us", "date": "2026-01-31"},
}


def test_share_time_and_money() -> None:
    progress = PlanProgress(steps=1000, done=200, currency="EUR", spent=3.0, price_per_second=0.01)
    assert progress.text(0, 5.0) == "20.0% of the plan"
    # 100 steps in 50 s: 700 more take 350 s; 3 + 0.5 are spent, and 3.5 are to come.
    assert progress.text(100, 50.0) == "30.0% of the plan, 5m50s to go, 3.5 of about 7 EUR"
    assert replace(progress, currency=None).text(100, 50.0) == "30.0% of the plan, 5m50s to go"
    assert progress.text(800, 50.0) == "100.0% of the plan, 0s to go, 3.5 of about 3.5 EUR"


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """A plan of which one path is trained and another one in part."""
    made = make_plan(config(tmp_path, hardware=PRICED))
    Run(made).train(["ptfs-v1", "cpt-v2"], stop_at={"cpt-v2": 600})
    return made


def test_what_is_done_and_spent_before(plan: Plan) -> None:
    progress = plan_progress(plan, DeviceClock(time.monotonic() - 36.0), processes=4)
    assert progress is not None
    assert (progress.steps, progress.done) == (plan.graph.total_steps, 500 + 100)
    assert progress.price_per_second == pytest.approx(4 * 2.0 / 3600)
    earlier = (600 * 0.036 + 2 * (10.0 + 2.0)) / 3600 * 2.0
    assert progress.spent == pytest.approx(earlier + 36.0 * 4 * 2.0 / 3600, rel=0.01), "starting the group included"


def test_a_group_beside_others_does_not_know_the_whole_plan(plan: Plan) -> None:
    for launch in ({"at_once": 2}, {"launcher": "slurm"}):
        beside = plan.config.model_copy(update={"launch": LaunchConfig.model_validate(launch)})
        assert plan_progress(replace(plan, config=beside), DeviceClock(), 1) is None
