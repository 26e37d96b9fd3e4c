"""Runs of wandb on disk, read with wandb's own inspector."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

WANDB = str(Path(sys.executable).with_name("wandb"))


def run_files(directory: Path, kind: str = "offline-run") -> list[Path]:
    """The file of each attempt, in order of time."""
    return sorted(directory.glob(f"wandb/{kind}-*/run-*.wandb"), key=lambda file: file.stat().st_mtime_ns)


def _records(file: Path, kind: str) -> list[Any]:
    said = subprocess.run([WANDB, "leet", "inspect", "--json", str(file)], capture_output=True, check=True, text=True)
    records = [json.loads(line) for line in said.stdout.splitlines()]
    return [record[kind] for record in records if record["type"] == kind]


def history(file: Path) -> list[dict[str, Any]]:
    """The rows that were logged, in order."""
    return [record["item"] for record in _records(file, "history")]


def console(file: Path) -> list[str]:
    """The lines of the console log."""
    return "".join(record["line"] for record in _records(file, "output_raw")).splitlines()


def summary(file: Path) -> dict[str, Any]:
    """config, exit_code, name, summary, tags .. of a run."""
    command = [WANDB, "leet", "inspect", "--summary", "--json", str(file)]
    return dict(json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout))


def sync(files: list[Path], *options: str) -> None:
    """Send runs to the server that the environment names."""
    command = [WANDB, "sync", "--yes", *options, *(str(file.parent) for file in files)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
