"""A worker whose launcher was killed saves and exits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from lrps.launch.launcher_watch import launchers_above

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
