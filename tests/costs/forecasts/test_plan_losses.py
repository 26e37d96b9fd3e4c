"""Losses of planned versions, from the ledgers of a run: measured, or the reason why they are not forecast."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from statistics import fmean

import pytest
from typer.testing import CliRunner

from lrps.base.document import to_json
from lrps.cli.app import app
from lrps.config.loader import load_config
from lrps.costs.forecasts.plan_losses import branch_losses, losses_outlook
from lrps.costs.forecasts.planned_loss import PlannedLoss
from lrps.costs.plan_forecast import plan_forecast
from lrps.costs.sweep import Grid, sweep_costs
from lrps.ledger.reader import EvaluationKey, evaluations, read_ledger
from lrps.plan.plan import Plan, make_plan
from lrps.plan.status import begun_status, done_steps
from lrps.report.sweep import sweep_records, sweep_tables
from support.plain_engine import run


@pytest.fixture(scope="module")
def settings(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return [
        f"runs={tmp_path_factory.mktemp('losses')}",
        "evaluation.main_every_steps=4",
        "paradigms={path-switching: {alpha: 0.6}}",
    ]


@pytest.fixture(scope="module")
def begun(tiny_config: Path, settings: list[str]) -> Plan:
    """A run of 20 steps a version, of which version 1 is trained."""
    plan = make_plan(load_config(tiny_config, settings))
    assert (losses_outlook(plan, begun_status(plan)), plan_forecast(plan, {}, ()).losses) == (None, None)
    assert run(plan, "main", "branch-v1")
    return plan


def test_a_plan_shows_the_measured_loss_and_why_the_next_one_is_not_forecast(begun: Plan) -> None:
    forecast = plan_forecast(begun, done_steps(begun), begun_status(begun))
    measured = evaluations(read_ledger(begun.layout.path("branch-v1").ledger))[EvaluationKey(20, "v1")].loss
    assert forecast.losses == {
        "branch-v1": PlannedLoss(measured, None, None, None),
        "branch-v2": PlannedLoss(None, None, None, "version too short"),
    }
    assert "losses" not in to_json(plan_forecast(begun, {}, ()))


def test_the_command_prints_a_column_of_losses(tiny_config: Path, settings: list[str], begun: Plan) -> None:
    words = ["plan", str(tiny_config), *(word for each in settings for word in ("-s", each))]
    printed = CliRunner().invoke(app, words, env={"COLUMNS": "120"}).stdout
    lines = [line for line in printed.splitlines() if line.startswith("branch-v")]
    measured = evaluations(read_ledger(begun.layout.path("branch-v1").ledger))[EvaluationKey(20, "v1")].loss
    assert "held-out loss" in printed
    assert lines[0].rstrip().endswith(f"{measured:.4f}")
    assert lines[1].rstrip().endswith("- version too short")


def test_a_sweep_says_why_it_has_no_loss(begun: Plan) -> None:
    grid = Grid((Fraction(1, 2),), (2, 3), (Fraction(1),))
    assert not any(point.loss for point in sweep_costs(begun, grid).points)
    look = losses_outlook(begun, begun_status(begun))
    assert look is not None
    found = sweep_costs(begun, grid, branch_losses(look))
    assert [point.loss.refused for point in found.points if point.loss] == ["version too short"] * 2
    *_, table = sweep_tables(found)
    assert [list(row[1:]) for row in table.texts] == [["- version too short"] * 2]


def test_a_sweep_asks_for_the_last_branch_of_every_point(begun: Plan) -> None:
    """Increments of 20 and 40 steps: with alpha 1/2 the last branch has 20 steps, from step 40 on."""
    asked: list[tuple[int, int]] = []

    def loss(fork: int, steps: int) -> PlannedLoss:
        asked.append((fork, steps))
        return PlannedLoss(None, fork / steps, 0.5, None)

    found = sweep_costs(begun, Grid((Fraction(1, 2),), (1, 2), (Fraction(2),)), loss)
    assert asked == [(10, 10), (40, 20)]
    *_, table = sweep_tables(found)
    assert [list(row[1:]) for row in table.texts] == [["1.0000 +-0.5000", "2.0000 +-0.5000"]]
    rows = [row.split(",") for row in sweep_records(found).to_csv(missing="").splitlines()]
    assert rows[0][-2:] == ["loss", "loss_half_width"]
    assert [row[-2:] for row in rows[1:] if row[3] == "path-switching"] == [["1.0", "0.5"], ["2.0", "0.5"]]
    assert {tuple(row[-2:]) for row in rows[1:] if row[3] != "path-switching"} == {("", "")}
    assert fmean(point.ratio_to_ptfs for point in found.points) < 1
