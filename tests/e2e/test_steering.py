"""A guard that skips and `lrps rewind`, through `lrps run` and the deepspeed launcher on two ranks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lrps.audit.run import audit_run
from lrps.base.errors import NEEDS_DECISION, OUR_FAULT
from lrps.base.step_set import StepSet
from lrps.config.loader import load_config
from lrps.ledger.check import check_run
from lrps.ledger.reader import read_ledger
from lrps.ledger.totals import total
from lrps.plan.plan import make_plan
from lrps.plan.status import plan_status

pytestmark = [pytest.mark.slow, pytest.mark.long]

PLANT = """
import os, sys

if "RANK" in os.environ and "train" in sys.orig_argv:
    import json
    from math import nan

    from support.wild_losses import losses_times

    wild = {int(step): nan for step in json.loads(os.environ["WILD_STEPS"])}
    planted = losses_times(lambda step: wild.get(step, 1.0) if os.environ["RANK"] == "1" else 1.0)
    planted.__enter__()
"""
"""Start of every worker: the loss of some steps is not finite on the last rank."""


def lrps(*words: str, wild: list[int], planted: Path) -> subprocess.CompletedProcess[str]:
    tests = Path(__file__).parents[1]
    modules = os.pathsep.join([str(planted), str(tests), os.environ.get("PYTHONPATH", "")])
    environment = {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", "PYTHONPATH": modules, "WILD_STEPS": str(wild)}
    command = [sys.executable, "-m", "lrps.cli", *words]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)


def test_single_steps_are_skipped_and_the_named_command_passes_a_fault_that_repeats(
    tiny_config: Path, tmp_path: Path
) -> None:
    """Steps 12 to 15 are one too many for the guard, and fail again; steps 3 and 22 are skipped."""
    (tmp_path / "sitecustomize.py").write_text(PLANT)
    values = {**yaml.safe_load(tiny_config.read_text()), "runs": str(tmp_path / "runs")}
    values |= {"guard": {"action": "skip"}, "paradigms": {"path-switching": {"alpha": 0.6}}}
    values |= {"average": {"ema": {"horizon": 0.5}}, "launch": {"processes": 2}}
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(values, sort_keys=False))
    wild = [3, 12, 13, 14, 15, 22]
    codes, told = [], ""
    for _ in range(2):
        done = lrps("run", str(file), wild=wild, planted=tmp_path)
        codes.append(done.returncode)
        told = done.stdout + done.stderr
    assert codes == [OUR_FAULT, NEEDS_DECISION], told[-3000:]
    named = re.search(r"lrps rewind CONFIG (main --to \d+ --skip-from \d+ --skip-steps \d+)", told)
    assert named is not None, told[-3000:]
    rewound = lrps("rewind", str(file), *named[1].split(), "--yes", wild=wild, planted=tmp_path)
    assert rewound.returncode == 0, rewound.stderr[-3000:]
    done = lrps("run", str(file), wild=[3, 22], planted=tmp_path)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    plan = make_plan(load_config(file))
    assert all(status.state == "complete" for status in plan_status(plan))
    totals = total(read_ledger(plan.layout.path("main").ledger))
    first, steps = map(int, re.findall(r"\d+", named[1])[1:])
    assert totals.passed_by_guard == StepSet.of([(3, 3), (22, 22)])
    assert totals.skipped == totals.passed_by_guard | StepSet.of([(first, first + steps - 1)])
    assert totals.useful_steps == 28
    audit = audit_run(plan.layout.run_dir, Path(plan.config.data.root))
    assert audit.differences == ()
    assert all(check.fault is None for check in check_run(plan.layout.run_dir))
