"""Tests of paradigms of plug-ins: they compile, share, get resources, and their faults are refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lrps.base.errors import ConfigError
from lrps.config.loader import load_config
from lrps.config.models import Config
from lrps.config.strategies import PluginStrategy
from lrps.plan.plan import Plan, make_plan
from support.plugins import SEPARATE, forgotten_plugins
from support.values import config_values


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    with forgotten_plugins():
        yield


def configured(folder: Path, source: str, **changes: Any) -> Config:
    (folder / "separate.py").write_text(source)
    values = config_values(plugins=["separate.py"], **{"paradigms": {"separate": {"shrink": 2}, "ptfs": {}}, **changes})
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(values))
    return load_config(file)


def planned(folder: Path, source: str = SEPARATE, **changes: Any) -> Plan:
    return make_plan(configured(folder, source, **changes))


def test_a_plugin_compiles_to_paths_of_its_kind(tmp_path: Path) -> None:
    plan = planned(tmp_path, launch={"resources": {"separate": {"processes": 2}}})
    ptfs, separate = plan.graph.paradigms
    assert [path.name for path in separate.paths] == ["separate-v1", "separate-v2", "separate-v3", "separate-v4"]
    assert {path.kind for path in separate.paths} == {"separate"}
    assert separate.paths[1].schedule.lr_at(20) == plan.config.schedule.peak_lr / 2
    assert [release.version for release in separate.releases] == [release.version for release in ptfs.releases]
    assert plan.config.launch.resources_of("separate").processes == 2


def test_a_strategy_of_a_plugin_survives_a_copy(tmp_path: Path) -> None:
    config = configured(tmp_path, SEPARATE)
    values = config.model_dump(mode="json")
    assert values["paradigms"]["separate"]["shrink"] == 2
    assert isinstance(config.paradigms["separate"], PluginStrategy)
    assert Config.model_validate(values) == config


def test_a_key_that_the_plugin_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"paradigms.separate.shrnk: unknown key; did you mean 'shrink'\?"):
        configured(tmp_path, SEPARATE, paradigms={"separate": {"shrnk": 2}})


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("return Paradigm(", "raise KeyError('v9')\n    return Paradigm(", r"paradigms.separate: .*py:19: KeyError"),
        ("return Paradigm(", "return (", "returns tuple, and no Paradigm"),
        ("tuple(releases)", "tuple(releases[1:])", "releases version v1 0 times"),
        ("name, segment.steps))", "name, segment.steps + 1))", "at step 101, which is none"),
        ("tuple(paths)", "(*paths, paths[0])", "two paths are called separate-v1"),
        ("compiler.path_name(k)", "'one'", "two paths are called one"),
        ("/ strategy.shrink", "* -1", "has the learning rate -"),
        ("(segment,))", "(type(segment)(segment.steps, segment.parts * 2),))", "reads 400 rows in 100 steps of 2 rows"),
    ],
)
def test_faults_of_what_a_plugin_returns_are_refused(tmp_path: Path, before: str, after: str, message: str) -> None:
    assert SEPARATE.count(before) == 1
    with pytest.raises(ConfigError, match=message):
        planned(tmp_path, SEPARATE.replace(before, after)).graph  # noqa: B018
