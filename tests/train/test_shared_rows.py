"""Runs whose sequences two processes share, from the config to the ledger, beside a run of one process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from lrps.audit.run import audit_run
from lrps.ledger.metrics import read_metrics
from lrps.ledger.reader import read_ledger
from lrps.ledger.totals import total
from lrps.store.identity import read_path
from lrps.store.layout import PathLayout, RunLayout

pytestmark = [pytest.mark.slow, pytest.mark.long]
SHARED = ("engine.sequence_parallel=2", "engine.zero_stage=3", "launch.processes=2")


@pytest.fixture(scope="module")
def config(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan of path switching with documents apart, an average and a guard, on one process."""
    root = tmp_path_factory.mktemp("shared-rows")
    values: dict[str, Any] = yaml.safe_load(tiny_config.read_text())
    values["runs"], values["launch"] = str(root / "runs"), {"processes": 1}
    values["data"]["attention_across_documents"] = False
    values["paradigms"] = {"path-switching": {"alpha": 0.6}}
    values |= {"average": {"ema": {}}, "guard": {"action": "warn"}}
    file = root / "config.yaml"
    file.write_text(yaml.safe_dump(values, sort_keys=False))
    return file


def run(config: Path, name: str, *settings: str) -> str:
    """Run a plan under a name with some settings; return what it printed."""
    arguments = [part for each in (f"name={name}", *settings) for part in ("-s", each)]
    command = [sys.executable, "-m", "lrps", "run", str(config), *arguments]
    environment = {**os.environ, "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout + done.stderr


def layouts(config: Path, name: str) -> dict[str, PathLayout]:
    layout = RunLayout(config.parent / "runs" / name)
    return {path: layout.path(path) for path in ("main", "branch-v1", "branch-v2")}


def heldout(layout: PathLayout) -> dict[str, float]:
    records = [record for record in read_ledger(layout.ledger) if record.kind == "evaluation"]
    return {f"{each.step} {each.facts['heldout']} {each.facts.get('form')}": each.facts["loss"] for each in records}


def assert_same_run(config: Path, one: str, other: str) -> None:
    for path, alone in layouts(config, one).items():
        shared = layouts(config, other)[path]
        assert read_path(alone.directory / "path.json") == read_path(shared.directory / "path.json")
        taken = [read_metrics(layout.metrics) for layout in (alone, shared)]
        steps = [[(each.step, each.loss, each.grad_norm) for each in metrics] for metrics in taken]
        assert len(steps[0]) == len(steps[1]) > 0
        for mine, theirs in zip(*steps, strict=True):
            assert mine == pytest.approx(theirs, rel=2e-4)
        assert heldout(alone) == pytest.approx(heldout(shared), rel=2e-5)
        counted = [total(read_ledger(layout.ledger)) for layout in (alone, shared)]
        assert counted[0].spent.tokens == counted[1].spent.tokens > 0
        assert counted[0].spent.flops == counted[1].spent.flops
    assert audit_run(layouts(config, other)["main"].directory.parent).differences == ()


def test_shared_sequences_that_one_process_continues_are_the_run_of_one_process(config: Path) -> None:
    run(config, "alone")
    only = config.with_name("first.yaml")
    values = yaml.safe_load(config.read_text())
    values["data"]["versions"] = values["data"]["versions"][:1]
    only.write_text(yaml.safe_dump(values, sort_keys=False))
    run(only, "continued", *SHARED)
    said = run(config, "continued")
    assert "engine.sequence_parallel 2, now 1. The state is read exactly, but the last digits" in " ".join(said.split())
    assert_same_run(config, "alone", "continued")
