"""The plan document: the numbers of method.md, computed here by hand."""

from __future__ import annotations

import json
from dataclasses import astuple
from typing import Any

import pytest

from lrps.base.document import to_json
from lrps.costs.planned.path_plan import MixTokens, ParentStep, RowRange
from lrps.costs.planned.plan_document import (
    PlanDocument,
    RehearsalPlan,
    checkpoint_bytes,
    plan_document,
    write_plan_json,
)

T = 500


@pytest.fixture
def document(make: Any) -> PlanDocument:
    return plan_document(make())


@pytest.mark.parametrize(
    ("name", "steps", "of_ptfs", "of_cpt"),
    [("path-switching", 5.8 * T, 0.58, 1.45), ("ptfs", 10 * T, 1.0, 2.5), ("cpt", 4 * T, 0.4, 1.0)],
)
def test_totals_of_four_versions(
    document: PlanDocument, name: str, steps: float, of_ptfs: float, of_cpt: float
) -> None:
    paradigm = document.paradigms[name]
    assert paradigm.cost.steps == pytest.approx(steps, abs=0)
    assert paradigm.cost.tokens == steps * 4 * 64
    assert paradigm.cost.flops == paradigm.cost.tokens * 6 * 460_000
    assert (paradigm.ratio_to_ptfs, paradigm.ratio_to_cpt) == pytest.approx((of_ptfs, of_cpt), abs=1e-12)
    assert sum(path.cost.steps for path in paradigm.paths) == paradigm.cost.steps


def test_a_path_that_two_paradigms_share_counts_once_in_the_graph(document: PlanDocument) -> None:
    cpt, ptfs = ({path.name for path in document.paradigms[name].paths} for name in ("cpt", "ptfs"))
    assert cpt & ptfs == {"ptfs-v1"}
    assert document.graph.cost.steps == 5.8 * T + 10 * T + 4 * T - T


def test_the_last_version_and_the_next_one(document: PlanDocument) -> None:
    assert document.marginal is not None
    last = {name: added.cost.steps for name, added in document.marginal.items()}
    following = {name: added.cost.steps for name, added in document.next.items()}
    assert last == {"path-switching": 1.6 * T, "ptfs": 4 * T, "cpt": T}
    assert following == {"path-switching": 1.6 * T, "ptfs": 5 * T, "cpt": T}


def test_a_plan_of_one_version_has_no_margin(make: Any) -> None:
    assert plan_document(make(versions=1)).marginal is None


def test_steps_count_along_the_lineage(document: PlanDocument) -> None:
    branch = next(path for path in document.paradigms["path-switching"].paths if path.name == "branch-v2")
    assert branch.parent == ParentStep("main", 2 * T - 300)
    assert (branch.start_step, branch.stop_step) == (700, 1000)
    assert (branch.lr_start, branch.lr_stop) == (3e-3, 0.0)
    assert branch.data == (RowRange("v2", 800, 2000),)


def test_what_is_done_is_not_to_do(make: Any) -> None:
    document = plan_document(make(), {"main": 600, "ptfs-v1": 500, "branch-v2": 700})
    assert document.to_do.steps == 9400 - 600 - 500
    assert document.paradigms["cpt"].steps_to_do == 1500


def test_a_mix_is_counted_in_tokens(make: Any, rehearsing: Any) -> None:
    document = plan_document(rehearsing)
    assert document.rehearsal == (RehearsalPlan("r", "v2", 30, 30 * 64, None),)
    mixes = {path.name: path.mix_tokens for paradigm in document.paradigms.values() for path in paradigm.paths}
    branch = MixTokens(840 * 64, 120 * 64, 240 * 64)
    assert mixes["branch-v2"] == mixes["branch-v4"] == branch
    assert mixes["branch-v1"] == MixTokens(1200 * 64, 0, 0)
    assert mixes["ptfs-v3"] == MixTokens(6000 * 64, 0, 0)
    assert mixes["cpt-v3"] == MixTokens(1800 * 64, 200 * 64, 0)
    paths = [path for paradigm in document.paradigms.values() for path in paradigm.paths]
    assert all(path.cost.tokens == sum(astuple(path.mix_tokens)) for path in paths)
    assert document.graph == plan_document(make()).graph, "a mix costs nothing"


def test_the_disk_holds_what_is_kept(make: Any) -> None:
    def states(**checkpoint: int) -> int:
        plan = make(paradigms={"ptfs": {}}, checkpoint=checkpoint)
        total, each = checkpoint_bytes(plan, plan.graph), plan.costs.checkpoint_bytes
        assert total % each == 0
        return int(total // each)

    ends = [path.stop for path in make(paradigms={"ptfs": {}}).graph.paths]
    assert states() == len(ends)
    assert states(every_steps=100, keep_last=3) == len(ends) + 3
    multiples = sum(len({*range(300, end, 300)} | {end}) for end in ends)
    assert states(every_steps=100, keep_last=3, keep_every_steps=300) == multiples + 3


def test_only_checkpoints_of_the_main_path_have_an_average(make: Any) -> None:
    off, on = make(), make(average={"ema": {}})
    parameters = off.costs.checkpoint_bytes // 12
    of_main = sum(
        len({*on.graph.branch_points(path.name), path.stop}) for path in on.graph.paths if path.kind == "main"
    )
    sizes = [checkpoint_bytes(plan, plan.graph) for plan in (off, on)]
    assert of_main > 1
    assert sizes[1] - sizes[0] == 4 * parameters * of_main


def test_unknown_costs_are_null(make: Any) -> None:
    unknown = plan_document(make(model={"architecture": {"model_type": "unheard-of", "vocab_size": 9}}))
    cost = unknown.graph.cost
    assert {cost.flops, cost.device_hours, cost.wall_clock_hours, cost.money} == {None}
    assert unknown.graph.checkpoint_bytes is None


def test_plan_json_holds_config_plan_and_costs(make: Any) -> None:
    plan = make()
    write_plan_json(plan)
    written = json.loads(plan.layout.plan_json.read_text())
    assert written["format"] == "lrps-plan-file/1"
    assert written["config"]["schedule"]["peak_lr"] == 3e-3
    assert written["plan"] == to_json(plan_document(plan))
    assert written["plan"]["paradigms"]["path-switching"]["total_steps"] == 2900
    assert written["costs"]["tokens_per_step"] == 4 * 64
    assert written["paradigms"] == ["path-switching", "ptfs", "cpt"]
