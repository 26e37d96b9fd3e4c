"""Ranks that the launcher of the config really starts, and ranks that do not answer."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lrps.base.errors import ConfigError, StoppedError
from lrps.config.models import Config
from lrps.doctor import rollcall
from lrps.doctor.rollcall import call_roll, exchange_directory, largest_job
from lrps.doctor.worker import EXCHANGE_DIRECTORY
from lrps.launch.launchers.registry import launcher_of
from lrps.launch.process_group import LaunchCommand
from lrps.plan.plan import make_plan

MakeConfig = Callable[..., Config]


@pytest.mark.slow
def test_two_ranks_of_the_deepspeed_launcher(tiny_config: Path, tmp_path: Path) -> None:
    from lrps.config.loader import load_config

    overrides = [f"runs={tmp_path / 'runs'}"]
    found = call_roll(make_plan(load_config(tiny_config, overrides)), tiny_config, overrides)
    assert {finding.state for finding in found.findings} == {"ok"}, found.findings
    assert [(rank.rank, rank.local_rank, rank.sees_the_run) for rank in found.ranks] == [(0, 0, True), (1, 1, True)]
    assert [speed["bytes"] for speed in found.all_reduce["speeds"]] == [1_000_000, 64_000_000]
    assert all(speed["bus_bytes_per_second"] > 0 for speed in found.all_reduce["speeds"])
    assert list(tmp_path.iterdir()) == [], "everything that was created for it is removed"


@pytest.mark.parametrize(
    ("script", "seconds", "what"),
    [
        ("print('no route to host'); raise SystemExit(3)", 600.0, "ended with code 3"),
        ("import time; time.sleep(3600)", 0.3, "did not answer within 0.3 s"),
    ],
)
def test_ranks_that_do_not_answer(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, seconds: float, what: str
) -> None:
    monkeypatch.setattr(rollcall, "_command", lambda *_: LaunchCommand((sys.executable, "-c", script), {}))
    found = call_roll(make_plan(make_config(runs=str(tmp_path / "runs"))), Path("c.yaml"), [], seconds)
    (finding,) = found.findings
    assert (finding.state, what in finding.what) == ("fail", True)
    assert ("no route to host" in finding.what) == (seconds > 1)
    assert list(tmp_path.iterdir()) == []


def test_a_signal_ends_the_ranks(make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    up = tmp_path / "up"
    script = f"import time; open({str(up)!r}, 'w'); time.sleep(3600)"
    monkeypatch.setattr(rollcall, "_command", lambda *_: LaunchCommand((sys.executable, "-c", script), {}))

    def when_they_are_up() -> None:
        while not up.exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    asking = threading.Thread(target=when_they_are_up, daemon=True)
    asking.start()
    with pytest.raises(StoppedError, match="the run directory is as it was"):
        call_roll(make_plan(make_config(runs=str(tmp_path / "runs"))), Path("c.yaml"), [])
    asking.join()
    assert list(tmp_path.iterdir()) == [up]


def test_the_largest_group_is_tried(make_config: MakeConfig) -> None:
    launch = {"launcher": "slurm", "processes": 2, "resources": {"ptfs": {"nodes": 2}, "cpt": {"processes": 3}}}
    config = make_config(launch=launch, batch={"sequences": 12})
    job = largest_job(make_plan(config), launcher_of(config.launch), Path("c.yaml"), ["seed=3"])
    assert (job.name, job.nodes, job.processes) == ("doctor", 2, 2)
    assert job.arguments == ("doctor-worker", "c.yaml", "--set", "seed=3")


def test_files_of_others_are_not_removed(tmp_path: Path) -> None:
    run_dir = tmp_path / "runs" / "demo"
    with exchange_directory(run_dir) as directory:
        assert directory == run_dir / EXCHANGE_DIRECTORY
        with pytest.raises(ConfigError, match="another `lrps doctor --nodes` is running"), exchange_directory(run_dir):
            pass
        assert directory.is_dir()
        (run_dir / "path.json").touch()
    assert [file.name for file in run_dir.iterdir()] == ["path.json"]
