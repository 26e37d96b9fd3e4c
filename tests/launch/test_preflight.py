"""What is found before anything is started."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lrps.base.errors import CheckpointError, ConfigError, DataError, LineageError
from lrps.base.locks import path_lock
from lrps.cli.app import app
from lrps.config.loader import load_config
from lrps.config.models import Config
from lrps.launch.jobs import unfinished_paths
from lrps.launch.preflight import (
    check_forks,
    check_idle,
    check_model_fits,
    check_shards,
    check_written,
    waiting_for_sets,
)
from lrps.plan.plan import make_plan
from support.values import config_values

MakeConfig = Callable[..., Config]


def test_missing_shards_are_named(make_config: MakeConfig) -> None:
    with pytest.raises(
        DataError, match=r"no shards in nowhere \(.*\) for version v1, v2, v3, v4; run `lrps data build"
    ):
        check_shards(make_plan(make_config()))


def test_a_state_to_start_from_must_be_there_where_something_is_to_do(make_config: MakeConfig, tmp_path: Path) -> None:
    model = {**config_values()["model"], "initial_state": str(tmp_path / "step-00000480")}
    plan = make_plan(make_config(runs=str(tmp_path), model=model))
    with pytest.raises(CheckpointError, match=r"model.initial_state: .*step-00000480 is no checkpoint; give one"):
        check_forks(plan, unfinished_paths(plan))
    check_forks(plan, [])


def test_a_model_that_cannot_be_built_is_found(tiny_config: Path) -> None:
    check_model_fits(make_plan(load_config(tiny_config)))
    with pytest.raises(ConfigError, match="did you mean 'num_key_value_heads'"):
        check_model_fits(make_plan(load_config(tiny_config, ["model.architecture.num_kv_heads=2"])))


@pytest.mark.parametrize("options", [["--dry-run"], [], ["--launcher", "slurm"], ["--launcher", "slurm", "--dry-run"]])
def test_a_wrong_model_starts_nothing(options: list[str], tiny_config: Path, tmp_path: Path) -> None:
    settings = ["-s", f"runs={tmp_path}", "-s", "model.architecture.hiden_size=32"]
    result = CliRunner().invoke(app, ["run", str(tiny_config), *settings, *options])
    assert isinstance(result.exception, ConfigError)
    assert "did you mean 'hidden_size'?" in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_shards_from_elsewhere_are_fetched(make_config: MakeConfig) -> None:
    values = [{"name": "v1", "tokens": 1600, "url": "s3://lake/v1"}, {"name": "v2", "tokens": 1600}]
    plan = make_plan(make_config(data={"root": "nowhere", "sequence_length": 8, "versions": values}))
    with pytest.raises(
        DataError, match="version v1, v2; run `lrps data fetch CONFIG` and `lrps data build CONFIG` first"
    ):
        check_shards(plan)


def test_what_somebody_trains_is_not_started_again(tiny_config: Path, tmp_path: Path) -> None:
    plan = make_plan(load_config(tiny_config, [f"runs={tmp_path}"]))
    check_idle(plan.layout, ["main", "branch-v1"])
    with path_lock(plan.layout.path("main").directory):
        check_idle(plan.layout, ["branch-v1"])
        with pytest.raises(LineageError, match=rf"main: is being trained by process {os.getpid()} on .*; wait for it"):
            check_idle(plan.layout, ["branch-v1", "main"])
    check_idle(plan.layout, ["main"])


def test_rehearsal_sets_must_be_there_if_they_are_read(tiny_config: Path) -> None:
    sets = "data.rehearsal=[{name: r, since: v1, tokens: 80}, {name: v3, since: v1, tokens: 80}]"
    check_shards(make_plan(load_config(tiny_config, [sets])))
    with pytest.raises(DataError, match=r"for version r; run"):
        check_shards(make_plan(load_config(tiny_config, [sets, "paradigms.cpt.mix={new: 0.5, rehearsal: 0.5}"])))


def test_paths_wait_for_what_models_are_to_write(tiny_config: Path, tmp_path: Path) -> None:
    settings = [
        "data.rehearsal=[{name: r, since: v2, tokens: 80, synthesis: {of: v1}}]",
        "paradigms.cpt.mix={new: 0.5, rehearsal: 0.5}",
    ]
    plan = make_plan(load_config(tiny_config, [*settings, f"runs={tmp_path}"]))
    check_shards(plan)
    waiting = waiting_for_sets(plan, unfinished_paths(plan))
    assert waiting == {"cpt-v2": {"r"}}
    check_written({}, tiny_config, settings)
    with pytest.raises(
        DataError, match=r"cpt-v2: waiting for .*; run `lrps rehearse my.yaml r --set a=1`, then"
    ) as raised:
        check_written(waiting, Path("my.yaml"), ["a=1"])
    assert raised.value.exit_code == 2
    words = ["run", str(tiny_config), "--dry-run", "--paradigm", "cpt"]
    for text in (*settings, f"runs={tmp_path}"):
        words += ["-s", text]
    for launcher in ("local", "slurm"):
        shown = CliRunner().invoke(app, [*words, "--launcher", launcher])
        assert shown.exit_code == 0
        assert "\n# cpt-v2: waiting for rehearsal data" in shown.stdout
    data = {**config_values()["data"], "root": str(tmp_path), "rehearsal": plan.config.data.model_dump()["rehearsal"]}
    with pytest.raises(DataError, match="for version v1, v2, v3, v4; run `lrps data build CONFIG` first"):
        check_shards(make_plan(Config.model_validate(config_values(data=data))))


def test_children_of_a_waiting_path_wait_too(make_config: MakeConfig, tmp_path: Path) -> None:
    data = {**config_values()["data"], "rehearsal": [{"name": "r", "since": "v2", "synthesis": {"of": "v1"}}]}
    plan = make_plan(
        make_config(data=data, runs=str(tmp_path), paradigms={"cpt": {"mix": {"new": 0.5, "rehearsal": 0.5}}})
    )
    assert plan.rows["r"] == plan.rows["v1"] // 10
    assert waiting_for_sets(plan, unfinished_paths(plan)) == {f"cpt-v{k}": {"r"} for k in (2, 3, 4)}
