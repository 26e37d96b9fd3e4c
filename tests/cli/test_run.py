"""`lrps run --launcher slurm` and `lrps cancel`, as far as they go without a Slurm (tests/launch/slurm has one)."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lrps.base.errors import BudgetError, ConfigError, DataError, SchedulerError
from lrps.cli import app
from lrps.config.models import Config
from lrps.plan.plan import make_plan
from support.measured_run import Run, config


@pytest.fixture(autouse=True)
def _no_slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


def test_a_dry_run_shows_scripts_and_commands_and_writes_nothing(tiny_config: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    # 30 s are spent, 20 of them on 500 of 9,400 steps: 8,900 more take 356 s.
    words = ["run", str(tiny_config), "--launcher", "slurm", "--dry-run", "--paradigm", "path-switching"]
    done = CliRunner().invoke(app, [*words, "-s", f"runs={runs}", "--profile", "3"])
    assert done.exit_code == 0, done.output
    assert done.output.count("#!/bin/bash") == 3
    assert [" --profile 3 " in script for script in done.output.split("#!/bin/bash")[1:]] == [True, False, False]
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


def file_of(config: Config) -> Path:
    file = config.runs.parent / "config.json"
    file.write_text(config.model_dump_json(exclude_none=True))
    return file


def test_a_dry_run_says_that_nothing_is_left_to_do(tmp_path: Path) -> None:
    plan = make_plan(config(tmp_path))
    Run(plan).train()
    done = CliRunner().invoke(app, ["run", str(file_of(plan.config)), "--dry-run", "-s", "budget.device_hours=0.001"])
    assert done.exit_code == 0, done.output
    where, nothing = done.output.splitlines()
    assert where.endswith("12 of 12 paths are trained.")
    assert nothing == "# small: everything is trained and evaluated already"
    version = CliRunner().invoke(app, ["run", str(file_of(plan.config)), "--dry-run", "--version", "v1"])
    assert version.output.splitlines()[-1] == "# small: everything that was selected is trained and evaluated already"
    unknown = CliRunner().invoke(app, ["run", str(file_of(plan.config)), "--version", "v"])
    assert isinstance(unknown.exception, ConfigError)
    assert "--version: v is no version; " in str(unknown.exception)


def test_what_would_exceed_the_budget_is_not_started(tmp_path: Path) -> None:
    plan = make_plan(config(tmp_path))
    Run(plan).train(["ptfs-v1"])
    file, before = file_of(plan.config), sorted(plan.layout.run_dir.rglob("*"))
    small = ["-s", "budget.device_hours=0.01"]
    words = ["0.00833 of 0.01 device-hours are spent", "raise budget.device_hours to 0.108 or more, or train less"]
    for launcher in ("local", "slurm"):
        refused = CliRunner().invoke(app, ["run", str(file), "--launcher", launcher, *small])
        assert isinstance(refused.exception, BudgetError)
        assert all(each in str(refused.exception) for each in words)
    dry, plan_text = (
        CliRunner().invoke(app, [*verb, *small]) for verb in (["run", str(file), "--dry-run"], ["plan", str(file)])
    )
    for done in (dry, plan_text):
        assert done.exit_code == 0, done.output
        assert all(each in done.output for each in ("`lrps run` would refuse this: ", *words))
    assert sorted(plan.layout.run_dir.rglob("*")) == before
    enough = CliRunner().invoke(app, ["run", str(file), "-s", "budget.device_hours=0.108"])
    assert isinstance(enough.exception, DataError), "the shards are missing"
    fewer = CliRunner().invoke(app, ["run", str(file), "--paradigm", "cpt", "-s", "budget.device_hours=0.05"])
    assert isinstance(fewer.exception, DataError), "what is left of one paradigm fits"


def test_a_plan_whose_ledger_is_damaged_is_that_of_the_config(tmp_path: Path) -> None:
    plan = make_plan(config(tmp_path))
    Run(plan).train(["ptfs-v1"])
    (ledger,) = plan.layout.path("ptfs-v1").ledger.glob("*.jsonl")
    ledger.write_text(ledger.read_text().replace("heartbeat", "heartbeaf"))
    done = CliRunner().invoke(app, ["plan", str(file_of(plan.config))])
    assert done.exit_code == 0
    assert "at the measured" not in done.output
    assert "note: `lrps run` would refuse this: " in done.output
    assert str(ledger) in done.output.replace("\n", "")


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


@pytest.mark.parametrize("steps", ["some", "5,", "5;10", ""])
def test_steps_to_evaluate_are_all_or_numbers(tiny_config: Path, tmp_path: Path, steps: str) -> None:
    done = CliRunner().invoke(app, ["evaluate", str(tiny_config), "main", "--steps", steps, "-s", f"runs={tmp_path}"])
    assert isinstance(done.exception, ConfigError)
    assert f"--steps {steps}: give `all`, or steps separated by commas" in str(done.exception)
