"""Completion of the names in a config, as a shell asks for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

RUN = "from lrps.cli.app import app; app(prog_name='lrps')"


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("lrps train CONFIG branch-", ["branch-v1", "branch-v2", "branch-v3", "branch-v4"]),
        ("lrps run CONFIG --version v", ["v1", "v2", "v3", "v4"]),
        ("lrps run CONFIG --paradigm ptfs", ["ptfs", "ptfs-wsd"]),
        ("lrps run CONFIG -s data.versions.0.name=first --version f", ["first"]),
        ("lrps run nowhere.yaml --version v", []),
    ],
)
def test_names_are_completed(line: str, names: list[str], repository: Path) -> None:
    words = line.replace("CONFIG", str(repository / "configs/demo.yaml"))
    asked = {"_LRPS_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    done = subprocess.run([sys.executable, "-c", RUN], env={**os.environ, **asked}, capture_output=True, text=True)
    assert done.stdout.split() == names, done.stderr
