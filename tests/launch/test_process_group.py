"""The command of a process group as a shell script."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from lrps.launch.process_group import LaunchCommand


def test_a_shell_runs_the_script(tmp_path: Path) -> None:
    command = (sys.executable, "-c", "import os, sys; print(os.environ['A'], sys.argv[1:])", "x y", "$HOME", "{a,b}")
    files = {tmp_path / "new folder" / "a file": "K=$V\n"}
    script = LaunchCommand(command, {"A": "two words"}, files).as_shell_script()
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "two words ['x y', '$HOME', '{a,b}']\n"
    assert (tmp_path / "new folder" / "a file").read_text() == "K=$V\n"
