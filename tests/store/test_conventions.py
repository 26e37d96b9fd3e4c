"""Conventions of a run: new plans take the newest ones, a run that was begun keeps its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lrps.config.loader import load_config
from lrps.config.models import Config
from lrps.ledger.records import FORMAT
from lrps.ledger.writer import write_attempt
from lrps.paths.amendments import Amendment
from lrps.plan.plan import Plan, make_plan
from lrps.store.conventions import FP32_SUM, GRADIENT_SUM, NEWEST, conventions_of
from lrps.store.identity import check_identity, training_digest
from support.saved_run import write_saved_run


@pytest.fixture
def begun(tmp_path: Path) -> Plan:
    """A plan whose main path has saved states, under the newest conventions."""
    return make_plan(load_config(write_saved_run(tmp_path)))


def change(plan: Plan, **training: Any) -> None:
    """Record other conventions in path.json of main: those given, and none besides."""
    file = plan.layout.path("main").path_json
    identity = json.loads(file.read_text())
    identity["training"] = {k: v for k, v in identity["training"].items() if k not in NEWEST} | training
    file.write_text(json.dumps(identity))


def again(plan: Plan) -> Plan:
    return make_plan(plan.config)


def test_a_new_plan_follows_the_newest_and_names_them(begun: Plan, tmp_path: Path) -> None:
    assert conventions_of(tmp_path / "absent") == NEWEST
    identity = begun.identity(begun.graph.by_name["main"])
    of_fp32 = {key: value for key, value in NEWEST.items() if key != GRADIENT_SUM}
    assert {key: value for key, value in identity["training"].items() if key in NEWEST} == of_fp32


def test_only_runs_in_bf16_name_how_gradients_are_summed(make_config: Callable[..., Config], tmp_path: Path) -> None:
    plan = make_plan(make_config(runs=str(tmp_path), engine={"precision": "bf16"}))
    assert plan.identity(plan.graph.by_name["main"])["training"][GRADIENT_SUM] == FP32_SUM


def test_a_run_begun_before_keeps_its_own_in_all_paths_and_digests(begun: Plan) -> None:
    newest = begun.training_sha256
    change(begun)
    plan = again(begun)
    assert plan.conventions == {}
    assert plan.begun
    for path in plan.graph.paths:
        assert not plan.identity(path)["training"].keys() & NEWEST.keys()
    file = plan.layout.path("main").path_json
    check_identity(file, plan.identity(plan.graph.by_name["main"]))
    assert plan.training_sha256 == training_digest(json.loads(file.read_text()))
    assert plan.training_sha256 != newest


def test_a_convention_that_is_recorded_is_kept_whatever_is_newest(begun: Plan) -> None:
    change(begun, padding="another")
    assert again(begun).conventions == {"padding": "another"}


def test_a_path_without_a_saved_state_decides_nothing(begun: Plan) -> None:
    change(begun)
    for state in (begun.layout.path("main").checkpoints).iterdir():
        (state / "manifest.json").unlink()
    assert again(begun).conventions == NEWEST


def record_attempt(plan: Plan, *kinds: str) -> None:
    """Append an attempt at main, with records of these kinds, to its ledger."""
    facts = {"format": FORMAT, "path": "main", "path_start": 0}
    begun = ("start", 0, facts)
    ledger = plan.layout.path("main").ledger
    ledger.mkdir(exist_ok=True)
    write_attempt(ledger, [begun, *((kind, 5, {"saved_step": 5}) for kind in kinds)])


@pytest.mark.parametrize("loss", ["ledger", "damaged ledger", "amendment", "abandoned"])
def test_a_path_that_has_lost_its_last_state_decides_all_the_same(loss: str, begun: Plan) -> None:
    change(begun)
    layout = begun.layout.path("main")
    shutil.rmtree(layout.checkpoints)
    assert again(begun).conventions == NEWEST
    record_attempt(begun, "heartbeat", "failure")
    assert again(begun).conventions == NEWEST, "an attempt that saved nothing"
    if loss == "ledger":
        record_attempt(begun, "checkpoint")
        record_attempt(begun, "heartbeat")
    elif loss == "damaged ledger":
        next(layout.ledger.iterdir()).write_bytes(b"no record\n")
    elif loss == "abandoned":
        layout.abandoned(1).checkpoints.mkdir(parents=True)
    else:
        identity = json.loads(layout.path_json.read_text())
        identity["path"]["amendments"] = [Amendment(0).to_json()]
        layout.path_json.write_text(json.dumps(identity))
    assert again(begun).conventions == {}


def test_a_path_with_a_state_is_asked_before_one_that_has_lost_all(begun: Plan) -> None:
    lost = begun.layout.path("branch-v1")
    lost.directory.mkdir()
    lost.path_json.write_bytes(begun.layout.path("main").path_json.read_bytes())
    lost.abandoned(1).checkpoints.mkdir(parents=True)
    change(begun)
    assert again(begun).conventions == {}


@pytest.mark.parametrize(
    ("recorded", "follows"),
    [
        ({"padding": "none", "initialisation": "by-module"}, NEWEST),
        ({"padding": "none"}, {"padding": "none"}),
        ({"padding": "none", "initialisation": "by-module", "precision": "bf16"}, dict(NEWEST, gradient_sum=None)),
    ],
    ids=["fp32", "fp32 begun before", "bf16"],
)
def test_a_run_in_fp32_says_nothing_of_sums_and_follows_those_of_its_time(
    recorded: dict[str, str], follows: dict[str, str | None], begun: Plan
) -> None:
    change(begun, **recorded)
    assert again(begun).conventions == {key: value for key, value in follows.items() if value is not None}
