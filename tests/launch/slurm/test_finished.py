"""The exit code that says whether paths are complete."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from lrps.launch.slurm import finished as module
from lrps.launch.slurm.finished import main
from lrps.plan.status import path_status
from support.values import config_values


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config_values(runs=str(tmp_path))))
    return file


def test_complete_is_what_the_run_directory_shows(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    complete = {"main"}

    def status(plan: Any, path: Any) -> Any:
        found = path_status(plan, path)
        return type(found)(**{**found.__dict__, "state": "complete"}) if path.name in complete else found

    monkeypatch.setattr(module, "path_status", status)
    assert main([str(config), "--set", "seed=3", "main"]) == 0
    assert main([str(config), "main", "branch-v1"]) == 1
    complete.add("branch-v1")
    assert main([str(config), "main", "branch-v1"]) == 0


@pytest.mark.parametrize("words", [["main", "--set", "sede=3"], ["mian"]])
def test_an_unknown_state_is_no_success(config: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(config), *words]) == 2
    assert "cannot find out" in capsys.readouterr().err
