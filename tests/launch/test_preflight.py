"""What is found before anything is started."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lrps.config.loader import load_config
from lrps.config.models import Config
from lrps.errors import CheckpointError, DataError
from lrps.launch.jobs import unfinished
from lrps.launch.preflight import check_data, check_forks
from lrps.plan import make_plan
from tests_support import config_values

MakeConfig = Callable[..., Config]


def test_missing_shards_are_named(make_config: MakeConfig) -> None:
    with pytest.raises(DataError, match="no shards in nowhere for version v1, v2, v3, v4; run `lrps data build"):
        check_data(make_plan(make_config()))


def test_a_state_to_start_from_must_be_there_where_something_is_to_do(make_config: MakeConfig, tmp_path: Path) -> None:
    model = {**config_values()["model"], "initial_state": str(tmp_path / "step-00000480")}
    plan = make_plan(make_config(runs=str(tmp_path), model=model))
    with pytest.raises(CheckpointError, match=r"model.initial_state: .*step-00000480 is no checkpoint; give one"):
        check_forks(plan, unfinished(plan))
    check_forks(plan, [])


def test_shards_from_elsewhere_are_fetched(make_config: MakeConfig) -> None:
    values = [{"name": "v1", "tokens": 1600, "url": "s3://lake/v1"}, {"name": "v2", "tokens": 1600}]
    plan = make_plan(make_config(data={"root": "nowhere", "sequence_length": 8, "versions": values}))
    with pytest.raises(
        DataError, match="version v1, v2; run `lrps data fetch CONFIG` and `lrps data build CONFIG` first"
    ):
        check_data(plan)


def test_rehearsal_sets_must_be_there_if_they_are_read(tiny_config: Path) -> None:
    sets = "data.rehearsal=[{name: r, since: v1, tokens: 80}, {name: v3, since: v1, tokens: 80}]"
    check_data(make_plan(load_config(tiny_config, [sets])))
    with pytest.raises(DataError, match=r"for version r; run"):
        check_data(make_plan(load_config(tiny_config, [sets, "paradigms.cpt.mix={new: 0.5, rehearsal: 0.5}"])))
