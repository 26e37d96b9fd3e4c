"""A private Slurm for the tests that need one, and what is submitted to it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lrps.config.launching import Resources
from lrps.launch.process_group import ProcessGroupJob
from lrps.plan.plan import Plan, make_plan
from support.private_slurm import PrivateSlurm, missing

WORKER = """
import os, signal, sys, time
asked = []
for number in (signal.SIGUSR1, signal.SIGTERM):
    signal.signal(number, lambda number, _: asked.append(number))
folder, attempt = sys.argv[1], os.environ.get("SLURM_RESTART_COUNT", "0")
open(f"{folder}/up-{attempt}", "w").close()
exec(sys.argv[2])
until = time.time() + 600
while not asked and time.time() < until:
    time.sleep(0.05)
os.makedirs(f"{folder}/checkpoints/step-{attempt}")
sys.exit(75)
"""
"""Stands in for training where only the script is at test: saves when it is asked to, unless a test says otherwise."""


SIGNALLED_EARLY = "ptfs-v4"
"""Its job is asked to save before its processes are up: USR1 while `setup` runs."""


@dataclass(frozen=True)
class Pretended(ProcessGroupJob):
    """A job whose processes do something else than training."""

    instead: tuple[str, ...] = ()

    @property
    def command(self) -> tuple[str, ...]:
        return self.instead


@pytest.fixture(scope="session")
def _running_slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateSlurm]:
    if reason := missing():
        pytest.skip(reason)
    slurm = PrivateSlurm(tmp_path_factory.mktemp("slurm"))
    slurm.start()
    yield slurm
    slurm.stop()


@pytest.fixture
def cluster(_running_slurm: PrivateSlurm, monkeypatch: pytest.MonkeyPatch) -> Iterator[PrivateSlurm]:
    """A running Slurm, to which commands in this process talk; nothing is queued before and after."""
    for name in ("SLURM_CONF", "PATH"):
        monkeypatch.setenv(name, _running_slurm.environment[name])
    yield _running_slurm
    _running_slurm.clear()


@pytest.fixture
def plan(make_config: Callable[..., object], tmp_path: Path) -> Plan:
    """main, branch-v1 .. branch-v4, and ptfs-v1 .. ptfs-v4, which depend on no other path; none is trained."""
    mark = tmp_path / "signalled"
    early = f"[ $SLURM_JOB_NAME != small.{SIGNALLED_EARLY} ] || [ -e {mark} ] || {{ touch {mark}; kill -USR1 $$; }}"
    slurm = {"gres": None, "setup": f"set -euo pipefail  # As many write it.\n{early}"}
    launch, paradigms = {"launcher": "slurm", "processes": 2, "slurm": slurm}, {"path-switching": {}, "ptfs": {}}
    return make_plan(make_config(runs=str(tmp_path), launch=launch, paradigms=paradigms))  # type: ignore[arg-type]


@pytest.fixture
def pretend(plan: Plan) -> Callable[..., Pretended]:
    """The job of a path that runs WORKER, with statements to do first."""

    def make(name: str, statement: str = "pass", partition: str | None = None) -> Pretended:
        folder = plan.layout.path(name).directory
        folder.mkdir(parents=True, exist_ok=True)
        command = (sys.executable, "-c", WORKER, str(folder), statement)
        return Pretended((name,), (), Resources(nodes=1, processes=1, partition=partition), instead=command)

    return make
