"""`lrps run --launcher slurm` and `lrps cancel`, as far as they go without a Slurm (tests/launch/slurm has one)."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lrps.base.errors import ConfigError, DataError, SchedulerError
from lrps.cli import app
from lrps.config.models import Config


@pytest.fixture(autouse=True)
def _no_slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


def test_a_dry_run_shows_scripts_and_commands_and_writes_nothing(tiny_config: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    words = ["run", str(tiny_config), "--launcher", "slurm", "--dry-run", "--paradigm", "path-switching"]
    done = CliRunner().invoke(app, [*words, "-s", f"runs={runs}"])
    assert done.exit_code == 0, done.output
    assert done.output.count("#!/bin/bash") == 3
    assert done.output.startswith(f"# Run directory: {runs}/tiny: nothing of this plan is trained there yet.\n")
    directory = runs / "tiny" / "slurm"
    assert re.search(rf"# sbatch --parsable --comment=lrps:\w+:main {directory / 'main.sbatch'}\n", done.output)
    assert (
        f"--dependency=afterok:<job of main> --kill-on-invalid-dep=yes {directory / 'branch-v2.sbatch'}" in done.output
    )
    assert not directory.exists()


@pytest.mark.parametrize("words", [["run", "--launcher", "slurm"], ["cancel"]])
def test_without_slurm_it_says_where_to_go(tiny_config: Path, tmp_path: Path, words: list[str]) -> None:
    done = CliRunner().invoke(app, [words[0], str(tiny_config), *words[1:], "-s", f"runs={tmp_path}"])
    assert isinstance(done.exception, SchedulerError)
    assert "squeue is not installed here; run this on a login node" in str(done.exception)


def test_a_path_that_is_not_there(tiny_config: Path) -> None:
    done = CliRunner().invoke(app, ["cancel", str(tiny_config), "mian"])
    assert isinstance(done.exception, ConfigError)
    assert "the plan has no path mian; it has main, branch-v1" in str(done.exception)


@pytest.mark.parametrize("words", [["--dry-run"], ["--launcher", "slurm", "--dry-run"]])
def test_another_eos_token_than_that_of_the_shards_is_refused_before_anything_starts(
    tiny_config: Path, tmp_path: Path, words: list[str]
) -> None:
    given = ["-s", f"runs={tmp_path}", "-s", 'data.end_token="!"']
    done = CliRunner().invoke(app, ["run", str(tiny_config), *words, *given])
    assert isinstance(done.exception, DataError)
    assert "data.end_token" in str(done.exception)


def test_a_command_that_is_started_elsewhere_names_the_run_beside_the_config(
    make_config: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "project" / "small.yaml"
    (config.parent / "runs" / "small" / "main").mkdir(parents=True)
    config.write_text(make_config().model_dump_json(exclude_none=True))
    (tmp_path / "else").mkdir()
    monkeypatch.chdir(tmp_path / "else")
    away = CliRunner().invoke(app, ["plan", "../project/small.yaml"])
    note = f"note: there is no {tmp_path}/else/runs/small, but {tmp_path}/project/runs/small: paths in a config"
    assert away.exit_code == 0, away.output
    assert note in away.output
    monkeypatch.chdir(config.parent)
    assert "note:" not in CliRunner().invoke(app, ["plan", "small.yaml"]).output
