"""The command of a process group as a shell script."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from lrps.launch.process_group import LaunchCommand


def test_a_shell_runs_the_script(tmp_path: Path) -> None:
    command = (
        sys.executable,
        "-c",
        "import os, sys; print(os.environ['LRPS_GROUP'], sys.argv[1:])",
        "x y",
        "$HOME",
        "{a,b}",
    )
    files = {tmp_path / "new folder" / "a file": "DS_ACCELERATOR=$V\n"}
    script = LaunchCommand(command, {"LRPS_GROUP": "two words"}, files).as_shell_script()
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "two words ['x y', '$HOME', '{a,b}']\n"
    assert (tmp_path / "new folder" / "a file").read_text() == "DS_ACCELERATOR=$V\n"


def test_the_script_shows_no_value_that_somebody_else_has_set() -> None:
    values = {"HF_TOKEN": "hf_planted", "URL": "https://me:planted@host", "OMP_NUM_THREADS": "4"}
    text = "".join(f"{name}={value}\n" for name, value in values.items())
    script = LaunchCommand(("true",), values, {Path("main.env"): f"{text}END\n"}).as_shell_script()
    assert "planted" not in script
    assert script.count("OMP_NUM_THREADS=4") == 2
    assert script.count("HF_TOKEN=...") == 2
