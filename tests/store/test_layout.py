"""The names of a run directory are a contract with people who look into it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lrps.store.layout import RunLayout


def test_names():
    run = RunLayout(Path("runs/plan"))
    assert run.plan_json == Path("runs/plan/plan.json")
    assert run.report_dir == Path("runs/plan/report")
    path = run.path("branch-v2")
    expected = {
        "directory": "",
        "path_json": "path.json",
        "checkpoints": "checkpoints",
        "branch_points": "branch_points",
        "ledger": "ledger",
        "metrics": "metrics.jsonl",
        "model": "model",
    }
    for name, relative in expected.items():
        assert getattr(path, name) == Path("runs/plan/branch-v2") / relative


def test_the_directories_that_exist(tmp_path: Path) -> None:
    run = RunLayout(tmp_path / "run")
    assert run.path_names() == frozenset()
    run.path("main").directory.mkdir(parents=True)
    run.plan_json.write_text("{}")
    assert run.path_names() == {"main"}


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", ".hidden"])
def test_a_path_stays_inside_its_run(name):
    with pytest.raises(ValueError, match="is not a valid name of a path"):
        RunLayout(Path("runs/plan")).path(name)
