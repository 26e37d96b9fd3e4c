"""Held-out curves of main paths, and the paired differences of the versions that branch from them."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import pytest

from lrps.config.loader import load_config
from lrps.costs.comparison import Comparison, make_comparison
from lrps.costs.curves.paired_difference import mean_and_error
from lrps.costs.status_document import status_document
from lrps.ledger.reader import evaluations, read_ledger
from lrps.plan.plan import Plan, make_plan
from lrps.plan.status import plan_status
from lrps.report.files import write_report
from lrps.report.status_lines import heldout_lines
from lrps.store.row_losses import read_row_losses
from support.plain_engine import run

EVERY = "evaluation.main_every_steps=4"


@pytest.fixture(scope="module")
def plan(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A trained run: main evaluated every 4 of its 28 steps, branches from 8 to 20 and from 28 to 40."""
    root = tmp_path_factory.mktemp("curve")
    plan = make_plan(load_config(tiny_config, [f"runs={root}", EVERY, "paradigms={path-switching: {alpha: 0.6}}"]))
    assert run(plan, "main", "branch-v1", "branch-v2")
    return plan


@pytest.fixture(scope="module")
def comparison(plan: Plan) -> Comparison:
    return make_comparison(plan)


def rows(plan: Plan, name: str, step: int, version: str) -> list[float]:
    found = evaluations(read_ledger(plan.layout.path(name).ledger))[step, version]
    losses = read_row_losses(plan.layout.path(name).row_losses(step, version), found.row_losses_sha256)
    assert losses is not None
    return list(losses)


def test_the_points_are_the_records_of_the_main_path(plan: Plan, comparison: Comparison) -> None:
    curve = comparison.heldout_curves["main"]
    found = evaluations(read_ledger(plan.layout.path("main").ledger))
    assert {(p.step, p.version): (p.loss, p.rows) for p in curve.points} == {
        key: (each.loss, each.rows) for key, each in found.items()
    }
    assert sorted({p.step for p in curve.points}) == [4, 8, 12, 16, 20, 24, 28]
    assert {(end.released, end.step) for end in curve.branch_ends} == {("v1", 20), ("v2", 40)}
    assert curve.device_hours > 0


def test_a_difference_is_that_of_the_sequences_at_the_fork_and_at_the_same_step(
    plan: Plan, comparison: Comparison
) -> None:
    differences = {(d.released, d.main_step, d.version): d for d in comparison.heldout_curves["main"].differences}
    assert {(released, step) for released, step, _ in differences} == {("v1", 8), ("v1", 20), ("v2", 28)}
    for (released, step, version), found in differences.items():
        branch = rows(plan, found.path, found.step, version)
        pairs = [a - b for a, b in zip(branch, rows(plan, "main", step, version), strict=True)]
        assert found.rows == len(pairs) == plan.heldout_rows(version)
        assert found.difference == pytest.approx(fmean(pairs), rel=1e-9, abs=1e-12)
        assert found.standard_error == pytest.approx(stdev(pairs) / len(pairs) ** 0.5, rel=1e-9)
        assert released == ("v1" if found.step == 20 else "v2")


def test_pairs_have_less_noise_than_losses(plan: Plan, comparison: Comparison) -> None:
    for found in comparison.heldout_curves["main"].differences:
        alone = [np.std(rows(plan, *where, found.version), ddof=1) for where in ((found.path, found.step),)]
        assert found.standard_error is not None
        assert found.standard_error < alone[0] / found.rows**0.5


def test_a_cap_that_comes_later_leaves_one_curve_on_the_same_sequences(plan: Plan, tmp_path: Path) -> None:
    config = plan.config.model_copy(update={"runs": tmp_path, "name": "capped"})
    whole = make_plan(config)
    assert not run(whole, "main", stop_after=12)
    evaluation = config.evaluation.model_copy(update={"main_max_rows": 3})
    capped = make_plan(config.model_copy(update={"evaluation": evaluation}))
    assert run(capped, "main", "branch-v1")
    curve = make_comparison(capped).heldout_curves["main"]
    assert {point.rows for point in curve.points} == {3}
    assert sorted({point.step for point in curve.points}) == [4, 8, 12, 16, 20, 24, 28]
    early = next(point for point in curve.points if (point.step, point.version) == (8, "v2"))
    assert early.loss == pytest.approx(fmean(rows(capped, "main", 8, "v2")[:3]))
    end = next(end for end in curve.branch_ends if end.version == "v1")
    assert end.loss == pytest.approx(fmean(rows(capped, "branch-v1", 20, "v1")[:3]))
    assert {d.rows for d in curve.differences if d.main_step == 20} == {3}


def test_losses_of_sequences_of_another_evaluation_do_not_count(plan: Plan, tmp_path: Path) -> None:
    config = plan.config.model_copy(update={"runs": tmp_path, "name": "damaged"})
    damaged = make_plan(config)
    assert run(damaged, "main", "branch-v1")
    file = damaged.layout.path("main").row_losses(8, "v1")
    file.write_bytes(file.read_bytes()[::-1])
    damaged.layout.path("main").row_losses(20, "v1").unlink()
    differences = make_comparison(damaged).heldout_curves["main"].differences
    assert {(d.main_step, d.version) for d in differences} == {(8, "v2"), (20, "v2")}


def test_the_report_draws_it_and_names_its_cost(plan: Plan, comparison: Comparison, tmp_path: Path) -> None:
    write_report(plan, comparison, ("html", "md", "csv", "json"), tmp_path)
    page = (tmp_path / "index.html").read_text()
    assert "The main path, seen on held-out data" in page
    assert "versions against the main path" in page.lower()
    assert "evaluations of the main path took: main " in page
    drawing = (tmp_path / "figures" / "main-curve-main.svg").read_text()
    for end in comparison.heldout_curves["main"].branch_ends:
        assert f"{end.released} ({end.path}) on {end.version}: {end.loss:.4f}" in drawing
    lines = (tmp_path / "paired.csv").read_text().splitlines()
    assert len(lines) == 1 + len(comparison.heldout_curves["main"].differences)
    stored = json.loads((tmp_path / "comparison.json").read_text())["heldout_curves"]["main"]
    assert [(p["step"], p["version"], p["loss"]) for p in stored["points"]] == [
        (p.step, p.version, p.loss) for p in comparison.heldout_curves["main"].points
    ]


def test_status_shows_the_newest_losses_of_the_main_path(plan: Plan) -> None:
    document = status_document(plan, plan_status(plan))
    found = evaluations(read_ledger(plan.layout.path("main").ledger))
    newest = {version: found[28, version].loss for version in ("v1", "v2")}
    main, *branches = document.paths
    assert main.newest_heldout is not None
    assert (main.newest_heldout.step, main.newest_heldout.losses) == (28, newest)
    assert {branch.newest_heldout for branch in branches} == {None}
    losses = ", ".join(f"{version} {loss:.4f}" for version, loss in newest.items())
    assert heldout_lines(document) == [f"main: held-out loss at step 28: {losses}"]


def test_a_single_sequence_has_no_standard_error() -> None:
    assert mean_and_error([2.0]) == (2.0, None)
    assert mean_and_error([1.0, 3.0]) == (2.0, 1.0)
