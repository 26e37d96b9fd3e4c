"""Average, guard, held-out curve and an amendment together: a run that was broken off anywhere is the straight run."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lrps.audit.run import audit_run
from lrps.config.loader import load_config
from lrps.ledger.metrics import read_metrics
from lrps.ledger.reader import EMA, RAW, read_ledger
from lrps.plan.plan import Plan, make_plan
from lrps.plan.rewind import rewind
from lrps.plan.status import path_status
from lrps.store.checkpoints import find
from lrps.store.identity import GUARD, SKIPPED
from lrps.train.watches import spike_guard
from support.laws_together import CHANGE, PATHS, SKIPPED_BY_BRANCH, SKIPPED_BY_MAIN, WILD, everything, planned
from support.plain_engine import PlainEngine, before_steps, run

WORKER = Path(__file__).with_name("together_worker.py")


@pytest.fixture(scope="module", autouse=True)
def disturbed() -> Iterator[None]:
    """Let the guard judge from five values on, since versions have 20 steps, and find what it skips."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spike_guard, "JUDGED_FROM", 5)
        patch.setattr(PlainEngine, "above", staticmethod(lambda step: WILD.get(step, 0.0)))
        yield


def taken_back(plan: Plan) -> Plan:
    """Take main back to step 10; the plan after it."""
    rewind(plan, "main", CHANGE)
    return replace(plan)


@pytest.fixture(scope="module")
def straight(disturbed: None, tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A run that reaches the amendment's step and its end without a break."""
    plan = planned(tiny_config, tmp_path_factory.mktemp("straight"))
    assert run(plan, "main", "branch-v1")
    plan = taken_back(plan)
    assert run(plan, *PATHS)
    return plan


def assert_holds_everything(found: dict[str, Any]) -> None:
    assert {"main 8", "main 28", "branch-v1 20", "branch-v2 40"} <= found.keys()
    fragments, identity = found["main 28"]
    assert fragments
    assert identity[SKIPPED] == SKIPPED_BY_MAIN
    assert found["branch-v2 40"][1][SKIPPED] == SKIPPED_BY_BRANCH
    assert len(identity[GUARD]["losses"]) == 8, "of the second segment"
    steps = {form: sorted({k.step for k in found["main evaluations"] if k.form == form}) for form in (RAW, EMA)}
    assert steps[RAW] == [3, 6, 8, 9, 12, 15, 18, 21, 24, 27, 28]
    assert steps[EMA]
    assert set(steps[EMA]) <= set(steps[RAW])
    assert [lr for step, _, lr, _ in found["main metrics"] if 10 < step <= 19] == [1e-4] * 4


def assert_equal_runs(ours: Plan, theirs: Plan) -> None:
    here, there = everything(ours), everything(theirs)
    assert_holds_everything(there)
    assert {key: here[key] for key in there} == there
    for plan in (ours, theirs):
        assert all(path_status(plan, plan.graph.by_name[name]).state == "complete" for name in PATHS)
    audits = [audit_run(plan.layout.run_dir, Path(plan.config.data.root)) for plan in (ours, theirs)]
    assert [audit.differences for audit in audits] == [(), ()]
    uses = [[lineage.uses for lineage in audit.lineages] for audit in audits]
    assert uses[0] == uses[1]


@pytest.mark.parametrize("at_every_step", ["stop", pytest.param("kill", marks=pytest.mark.long)])
def test_resumed_at_every_step_is_straight(
    straight: Plan, tiny_config: Path, tmp_path: Path, at_every_step: str
) -> None:
    plan = planned(tiny_config, tmp_path / "resumed", "engine.read_every=1")
    break_off = {"stop": stop_at_every_step, "kill": kill_at_every_step}[at_every_step]
    break_off(plan, "main")
    assert run(plan, "main", "branch-v1")
    plan = taken_back(plan)
    break_off(plan, "main")
    assert run(plan, "main")
    break_off(plan, "branch-v2")
    assert run(plan, *PATHS)
    assert_equal_runs(plan, straight)


def stop_at_every_step(plan: Plan, name: str) -> None:
    """Stop after every single step: each attempt resumes from the state that the one before has saved."""
    path = plan.graph.by_name[name]
    while path_status(plan, path).step < path.stop - 1:
        assert not run(plan, name, stop_after=1)


def kill_at_every_step(plan: Plan, name: str) -> None:
    """Die before every step that is computed: each attempt resumes from the newest checkpoint."""
    path, first = plan.graph.by_name[name], path_status(plan, plan.graph.by_name[name]).step
    for at in range(first, path.stop):
        if at not in path.skips:
            with dying_before(at), pytest.raises(MemoryError):
                run(plan, name)


@contextmanager
def dying_before(at: int) -> Iterator[None]:
    def die(step: int) -> None:
        if step == at:
            raise MemoryError

    with before_steps(die):
        yield


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("settings", [["engine.zero_stage=1"], ["engine.zero_stage=3", "engine.precision=bf16"]])
def test_resumed_is_straight_on_two_ranks(tiny_config: Path, tmp_path: Path, settings: list[str]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    launcher = [str(Path(sys.executable).with_name("deepspeed")), "-q", "--num_gpus", "2", "--master_port", str(port)]
    command = [*launcher, "--no_local_rank", str(WORKER), str(tiny_config), str(tmp_path), *settings]
    modules = os.pathsep.join([str(WORKER.parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", "PYTHONPATH": modules}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    straight, resumed = (planned(tiny_config, tmp_path / name, *settings) for name in ("straight", "resumed"))
    assert_equal_runs(resumed, straight)


def test_an_amendment_changes_no_byte_before_its_step(tiny_config: Path, tmp_path: Path) -> None:
    plan = planned(tiny_config, tmp_path)
    assert run(plan, "main", "branch-v1")
    main, branch = plan.layout.path("main"), plan.layout.path("branch-v1")
    earlier = [find(main, step).directory for step in (5, 8, 10)]
    files = [file for folder in (*earlier, branch.directory) for file in sorted(folder.rglob("*")) if file.is_file()]
    before = {file: file.read_bytes() for file in files}
    records = list(read_ledger(main.ledger))
    metrics = [m for m in read_metrics(main.metrics) if m.step <= 10]
    assert run(taken_back(plan), *PATHS)
    assert {file: file.read_bytes() for file in files} == before
    assert list(read_ledger(main.ledger))[: len(records)] == records
    assert [m for m in read_metrics(main.metrics) if m.step <= 10] == metrics


def test_sequences_of_skipped_steps_are_neither_lost_nor_read_twice(
    tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: dict[int, np.ndarray] = {}
    real = PlainEngine.train_step

    def train_step(engine: PlainEngine, rows: np.ndarray, **more: Any) -> bool:
        read[more["step"]] = rows.copy()
        return real(engine, rows, **more)

    monkeypatch.setattr(PlainEngine, "train_step", train_step)
    undisturbed = make_plan(load_config(tiny_config, [f"runs={tmp_path / 'undisturbed'}"]))
    with monkeypatch.context() as patch:
        patch.setattr(PlainEngine, "above", staticmethod(lambda step: 0.0))
        assert run(undisturbed, "main", "branch-v2")
    expected = dict(read)
    read.clear()
    plan = planned(tiny_config, tmp_path / "disturbed")
    assert run(plan, "main")
    plan = taken_back(plan)
    before = {step: rows for step, rows in read.items() if step < CHANGE.at}
    read.clear()
    assert run(plan, "main", "branch-v2")
    assert read.keys() == {*range(CHANGE.at, 40)} - {*CHANGE.skipped}
    now = before | read
    assert all((now[step] == expected[step]).all() for step in now)
    audit = audit_run(plan.layout.run_dir, Path(plan.config.data.root))
    assert audit.ok, audit.differences
    (main,) = [lineage for lineage in audit.lineages if lineage.path == "main"]
    assert sum(use.skipped_rows for use in main.uses) == 4 * 10
    assert sum(use.rows for use in main.uses) == 4 * 28
