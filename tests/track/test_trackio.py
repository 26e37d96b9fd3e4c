"""A local store of Trackio, written by a process of its own (Trackio reads its folder once) and read back as SQLite."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
from pathlib import Path
from lrps.track.trackio import TrackioRun
from lrps.track.tracker import TrackedPath
directory, start, stop, run_mark, mark = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:]
for name, job in (("main", "main"), ("branch-v2", "branch")):
    config = {"seed": 7, "lineage": {"parent": "main"}}
    run = TrackioRun(TrackedPath("demo", f"demo-{run_mark}", name, mark, job, 0, (), directory / name, config))
    run.start(start)
    for step in range(start + 1, stop + 1):
        run.log(step, {"tokens": 16 * step, "train/loss": 2.5})
    run.finish(0, "5ea1")
"""


def attempt(directory: Path, start: int, stop: int, marks: tuple[str, str] = ("a1", "b1"), **environment: str) -> str:
    command = [sys.executable, "-c", SCRIPT, str(directory), str(start), str(stop), *marks]
    kept = {key: value for key, value in os.environ.items() if not key.startswith("TRACKIO_")}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={**kept, **environment})
    return done.stdout + done.stderr


def rows(store: Path, run: str) -> list[tuple[int, dict[str, float]]]:
    with sqlite3.connect(store) as data:
        found = data.execute("select step, metrics from metrics where run_name = ? order by id", (run,)).fetchall()
    return [(step, json.loads(metrics)) for step, metrics in found]


def test_every_step_of_every_attempt_is_in_the_run_directory(tmp_path: Path) -> None:
    assert attempt(tmp_path, 0, 8) == "", "the terminal is ours"
    attempt(tmp_path, 5, 12)
    store = tmp_path / "trackio" / "demo-a1.db"
    for run in ("main-b1", "branch-v2-b1"):
        logged = rows(store, run)
        assert [step for step, _ in logged] == [*range(1, 9), *range(6, 13)]
        assert logged[0][1] == {"tokens": 16, "train/loss": 2.5}
    with sqlite3.connect(store) as data:
        configs = dict(data.execute("select run_name, config from configs").fetchall())
        runs = data.execute("select count(distinct run_id) from metrics").fetchone()
    assert runs == (2,), "an attempt goes on with the run of the one before"
    config = json.loads(configs["branch-v2-b1"])
    assert config.items() >= {"seed": 7, "lineage": {"parent": "main"}, "_Group": "branch"}.items()


def test_the_environment_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt(tmp_path / "run", 0, 1, TRACKIO_DIR=str(tmp_path / "store"))
    assert len(rows(tmp_path / "store" / "demo-a1.db", "main-b1")) == 1
    assert not (tmp_path / "run" / "trackio").exists()


def test_plans_and_paths_of_equal_names_are_not_merged(tmp_path: Path) -> None:
    shared = {"TRACKIO_DIR": str(tmp_path / "store")}
    for marks, stop in ((("a1", "b1"), 1), (("a2", "b2"), 2), (("a1", "b3"), 3)):
        attempt(tmp_path / marks[0], 0, stop, marks, **shared)
    found = [("a1", "b1"), ("a2", "b2"), ("a1", "b3")]
    assert [len(rows(tmp_path / "store" / f"demo-{run}.db", f"main-{path}")) for run, path in found] == [1, 2, 3]
