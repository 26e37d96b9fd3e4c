"""Status of every path, as `lrps status --json` prints it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from lrps.base.document import to_json
from lrps.base.document_schema import json_schema
from lrps.base.locks import path_lock
from lrps.costs.status_document import PathProgress, SlurmJob, SpentCost, StatusDocument, status_document
from lrps.paths.cost import PEAK_TFLOPS
from lrps.plan.status import PathStatus, plan_status


def status(plan: Any) -> dict[str, PathProgress]:
    document = status_document(plan, plan_status(plan))
    return {path.name: path for path in document.paths}


def test_every_path_is_there_before_anything_was_trained(make: Any) -> None:
    plan = make()
    paths = status(plan)
    assert list(paths) == [path.name for path in plan.graph.paths]
    assert {path.state for path in paths.values()} == {"planned"}
    assert paths["branch-v2"].step == 700, "a branch starts at its fork"
    assert (paths["main"].loss, paths["main"].tokens_per_second, paths["main"].updated) == (None, None, None)


def test_states_and_costs(make: Any, formulas: Any) -> None:
    plan = make(hardware=formulas.PRICED)
    run = formulas.Run(plan).train(
        ["main", "ptfs-v2", "ptfs-v3"], fail_at={"ptfs-v2": (700, 500)}, stop_at={"main": 900}
    )
    run.train(["ptfs-v1"])
    paths = status(plan)
    assert {name: paths[name].state for name in ("main", "ptfs-v1", "ptfs-v2", "ptfs-v4")} == {
        "main": "interrupted",
        "ptfs-v1": "complete",
        "ptfs-v2": "complete",
        "ptfs-v4": "planned",
    }
    assert (paths["main"].step, paths["main"].stop_step) == (900, 1700)
    measured = paths["ptfs-v2"].measured
    assert (measured.attempts, measured.total_steps, measured.repeated_steps) == (2, 1000, 200)
    assert measured.device_hours == pytest.approx((1200 * 0.036 + 2 * 12) / 3600)
    assert measured.money == pytest.approx(2 * measured.device_hours)
    assert paths["ptfs-v1"].loss == pytest.approx(formulas.training_loss(plan.graph.by_name["ptfs-v1"], 500))


SPEED = 4 * 64 / 0.018
"""Tokens a second, as conftest.py logs them."""


def test_live_facts_of_a_running_path(make: Any, formulas: Any) -> None:
    plan = make(hardware={"device": "H100"}, model=COUNTED)
    formulas.Run(plan).train(["main"], stop_at={"main": 850})
    with path_lock(plan.layout.path("main").directory):
        document = status_document(plan, plan_status(plan))
    main, branch, *_ = document.paths
    assert (main.live_step, main.tokens_per_second) == (850, SPEED)
    assert len(main.recent_losses) == 30
    assert main.recent_losses[-1] == main.loss
    per_token = plan.costs.flops_per_token
    assert main.mfu == pytest.approx(SPEED * per_token / (2 * PEAK_TFLOPS["H100"] * 1e12))
    seconds = (850 * 0.036 + 2) / 850
    assert main.eta_seconds == pytest.approx(850 * seconds / 2)
    assert main.to_come.device_hours == pytest.approx(850 * seconds / 3600)
    assert (branch.live_step, branch.mfu, branch.eta_seconds, branch.recent_losses) == (200, None, None, ())
    assert document.eta_seconds == pytest.approx((9400 - 850) * seconds / 2)
    assert document.to_come.steps == 9400 - 850
    assert document.to_come.basis == "measured"
    assert (document.state, document.spent.money, document.to_come.money) == ("running", None, None)


COUNTED = {
    "architecture": {
        "model_type": "llama",
        "vocab_size": 257,
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
}


def test_mfu_is_null_where_the_peak_is_unknown(make: Any, formulas: Any) -> None:
    for name, hardware in (("nowhere", None), ("cpu", {"device": "cpu"})):
        plan = make(hardware=hardware, name=name, model=COUNTED)
        formulas.Run(plan).train(["ptfs-v1"])
        assert status(plan)["ptfs-v1"].mfu is None


def test_money_of_the_graph(make: Any, formulas: Any) -> None:
    plan = make(hardware=formulas.PRICED)
    assert status_document(plan, plan_status(plan)).spent == SpentCost(device_hours=0, money=0)
    formulas.Run(plan).train(["main", "ptfs-v1"])
    document = status_document(plan, plan_status(plan))
    hours = (2200 * 0.036 + 2 * 12) / 3600
    assert document.spent == SpentCost(pytest.approx(hours), pytest.approx(2 * hours))


def test_the_state_of_the_graph(make: Any, trained: Any) -> None:
    plan = make()
    statuses = plan_status(plan)

    def state(*changed: str) -> str:
        mixed = [replace(old, state=new) for old, new in zip(statuses, changed, strict=False)]
        return status_document(plan, [*mixed, *statuses[len(mixed) :]]).state

    assert (state(), state("complete", "interrupted"), state("failed")) == ("waiting", "waiting", "failed")
    assert state("failed", "running") == "running"
    assert status_document(trained, [replace(s, state="complete") for s in plan_status(trained)]).state == "complete"


@pytest.mark.parametrize(
    ("silent", "speed", "warning"),
    [
        (59.0, SPEED, None),
        (240.0, SPEED, "no sign of life for 4m00s"),
        (240.0, 4 * 64 / 3.0, None),  # a step takes 3 s, ten are logged together
        (301.0, 4 * 64 / 3.0, "no sign of life for 5m01s"),
        (240.0, None, None),
        (301.0, None, "no sign of life for 5m01s"),
        (None, SPEED, None),
    ],
)
def test_a_long_silence_is_a_warning(make: Any, silent: float | None, speed: float | None, warning: Any) -> None:
    plan = make()

    def quiet(status: PathStatus) -> PathStatus:
        return replace(status, silent_seconds=silent, tokens_per_second=speed)

    document = status_document(plan, [quiet(status) for status in plan_status(plan)])
    assert {path.warning for path in document.paths} == {warning}


def test_what_could_not_be_read_is_a_warning(make: Any) -> None:
    plan = make()
    first, *rest = plan_status(plan)
    document = status_document(plan, [replace(first, trouble="a line was changed"), *rest])
    assert document.paths[0].warning == "a line was changed"


def test_a_path_has_its_slurm_job(make: Any, formulas: Any) -> None:
    plan = make()
    formulas.Run(plan).train(["main", "ptfs-v1"], stop_at={"main": 850})
    failed = SlurmJob("7", "FAILED", "NonZeroExitCode", "job 7 FAILED: see main-7.out")
    document = status_document(plan, plan_status(plan), {"main": failed, "ptfs-v1": failed})
    paths = {path.name: path for path in document.paths}
    assert (paths["main"].slurm, paths["main"].warning) == (failed, failed.trouble)
    assert paths["ptfs-v1"].state == "complete"
    assert paths["ptfs-v1"].warning is None, "what is complete is in no trouble, however its last job ended"
    assert (paths["branch-v1"].slurm, paths["branch-v1"].warning) == (None, None)


def test_the_schema_describes_a_real_status(make: Any, formulas: Any) -> None:
    plan = make(hardware=formulas.PRICED)
    formulas.Run(plan).train(["main", "ptfs-v1"], stop_at={"main": 850})
    job = {"job_id": "7", "state": "PENDING", "reason": "Priority", "trouble": None}
    jobs = {"main": SlurmJob("7", "PENDING", "Priority", None)}
    document = to_json(status_document(plan, plan_status(plan), jobs))
    assert document["format"] == "lrps-status/1"
    assert document["paths"][0]["slurm"] == job
    validator = Draft202012Validator(json_schema(StatusDocument))
    validator.validate(json.loads(json.dumps(document)))
    assert not validator.is_valid(document | {"spent": {"device_hours": None, "money": None}})
