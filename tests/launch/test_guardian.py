"""Workers on other hosts, and the files with their environment, once `lrps run` was killed."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

SUPERVISING = """
import sys
from pathlib import Path
import lrps.launch.guardian
from lrps.launch.process_group import LaunchCommand
from lrps.launch.supervise import Supervisor
lrps.launch.guardian.WATCH_SECONDS = 0.1
folder, what = Path(sys.argv[1]), sys.argv[2]
# Workers exit at the second request, and their launcher with them: the first came while they started.
exits = "while [ $(cat asked | wc -l) -lt 2 ]; do sleep 0.05; done"
command = ("sh", "-c", f"cd {folder}; touch asked; echo up; {exits if what == 'killed' else 'exit 0'}")
ask = ("sh", "-c", f"echo {{signal}} >>{folder}/asked")
with Supervisor(30) as supervisor:
    supervisor.start("main", LaunchCommand(command, {}, {folder / "main.env": "KEY=planted"}, ask))
    while supervisor.running:
        supervisor.poll()
"""


@pytest.mark.parametrize("what", ["killed", "ends"])
def test_a_guardian_acts_for_a_killed_supervisor_only(what: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", SUPERVISING, tmp_path, what]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        if what == "killed":
            assert (tmp_path / "main.env").exists()
            while not (found := guardians(tmp_path)):
                time.sleep(0.05)
            process.kill()
            found[0].wait(60)
    assert guardians(tmp_path) == []
    assert not (tmp_path / "main.env").exists()
    assert set((tmp_path / "asked").read_text().split()) == ({"TERM"} if what == "killed" else set())


def guardians(folder: Path) -> list[psutil.Process]:
    return [
        each
        for each in psutil.process_iter(["cmdline"])
        if {"lrps.launch.guardian", str(folder / "main.env")} <= set(each.info["cmdline"] or ())
    ]
