"""A worker whose launcher or supervisor was killed saves and exits."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from lrps.launch.launcher_watch import SUPERVISOR, launchers_above

WORKER = """
import signal, sys, time
from lrps.launch.launcher_watch import watch_launchers
obeys, seen = sys.argv[1] == "obeys", []
signal.signal(signal.SIGTERM, lambda *_: seen.append(1))
watch_launchers(grace_seconds=1.0, wait_seconds=0.1)
print("ready", flush=True)
while not (seen and obeys):
    time.sleep(0.05)
print("saved", flush=True)
"""


@pytest.mark.parametrize(("behaviour", "end"), [("obeys", "saved\n"), ("is stuck", "")])
def test_a_killed_launcher_ends_its_worker(tmp_path: Path, behaviour: str, end: str) -> None:
    (tmp_path / "worker.py").write_text(WORKER)
    launcher = tmp_path / "torchrun"
    launcher.write_text(f"#!/bin/sh\n{sys.executable} {tmp_path}/worker.py '{behaviour}' &\nwait\n")
    launcher.chmod(0o755)
    with subprocess.Popen([launcher], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        (worker,) = psutil.Process(process.pid).children()
        assert [each.pid for each in launchers_above(worker)][:1] == [process.pid]
        process.kill()
        assert process.stdout.read() == end  # The pipe is closed once the worker has exited.


def test_a_process_started_by_hand_has_no_launcher() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        assert launchers_above(psutil.Process(process.pid)) == ()
        process.kill()


SUPERVISING = """
import subprocess, sys
from lrps.launch.process_group import LaunchCommand
from lrps.launch.supervise import Supervisor
with Supervisor(30) as supervisor:
    supervisor.start("main", LaunchCommand(("sh", "-c", f"{sys.executable} {sys.argv[1]} obeys & wait"), {}))
    while supervisor.running:
        supervisor.poll()
"""


def test_a_killed_supervisor_ends_the_workers_though_their_launcher_lives(tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text(WORKER)
    command = [sys.executable, "-c", SUPERVISING, tmp_path / "worker.py"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.kill()
        assert process.stdout.read() == "saved\n"


def test_a_supervisor_that_is_gone_already_ends_the_worker(tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text(WORKER)
    with subprocess.Popen(["true"]) as gone:
        pass
    done = subprocess.run(
        [sys.executable, tmp_path / "worker.py", "obeys"],
        env={**os.environ, SUPERVISOR: str(gone.pid)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.endswith("saved\n")
    assert "was killed: saving" in done.stderr


def test_a_task_of_srun_does_not_look_for_a_supervisor_of_another_machine() -> None:
    look = (
        "import threading; from lrps.launch.launcher_watch import watch_launchers; watch_launchers(0.0); "
        "print([each.name for each in threading.enumerate()])"
    )
    environment = {**os.environ, SUPERVISOR: "999999999", "SLURM_PROCID": "0"}
    done = subprocess.run([sys.executable, "-c", look], env=environment, capture_output=True, text=True)
    assert done.stdout == "['MainThread']\n", done.stderr
