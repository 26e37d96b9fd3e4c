"""The `probes` section: its short form, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from lrps.config.launching import LaunchConfig
from lrps.config.models import Config
from lrps.config.probing import ProbePoint
from support.values import config_values

CANDIDATES = [{"name": "code", "tokens": 800}]


def config_of(at: Any = "v2", paradigms: Any = None, candidates: Any = CANDIDATES, **probe: Any) -> Config:
    values = config_values(probes={"p": {"at": at, "steps": 5, "data": {"v2": 0.7, "code": 0.3}, **probe}})
    values["data"]["candidates"] = candidates
    return Config.model_validate({**values, **({"paradigms": paradigms} if paradigms else {})})


def test_a_point_is_a_version_or_a_step() -> None:
    assert config_of().probes["p"].at == ProbePoint(version="v2")
    assert config_of({"step": 7}).probes["p"].at == ProbePoint(step=7)
    config = config_of({"step": 7})
    assert Config.model_validate(config.model_dump(mode="json")) == config, "as plan.json has it"
    assert config_of().probes["p"].decay == "linear"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"at": "v22"}, "probes.p.at: there is no v22; did you mean v2?"),
        ({"at": {}}, "name a version"),
        ({"at": {"version": "v2", "step": 7}}, "name a version"),
        ({"at": {"step": 0}}, "greater than or equal to 1"),
        ({"data": {"cod": 1.0}}, "probes.p.data.cod: there is no cod; did you mean code?"),
        ({"data": {"xyz": 1.0}}, "the config has v1, v2, v3, v4, code"),
        ({"data": {"v3-heldout": 1.0}}, "v3-heldout is no data to train on: a probe on held-out text would measure"),
        ({"data": {"v2": 0.7, "code": 0.2}}, "must add up to 1, not 0.9"),
        ({"data": {"v2": 1.0, "code": 0.0}}, "greater than 0"),
        ({"data": {}}, "at least 1"),
        ({"steps": 0}, "greater than or equal to 1"),
        ({"paradigms": {"ptfs": {}}}, "probes fork from a main path: add a path-switching paradigm"),
        ({"candidates": [{"name": "v2", "tokens": 800}]}, "version names must differ: v2"),
        ({"candidates": [{"name": "code", "tokens": 800, "epochs": 2}]}, "leave out epochs"),
    ],
    ids=str,
)
def test_a_mistake_is_explained(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as found:
        config_of(**wrong)
    assert message in str(found.value)


def test_a_probe_has_the_resources_of_a_branch_unless_it_has_its_own() -> None:
    launch = LaunchConfig.model_validate({"processes": 8, "resources": {"branch": {"processes": 4}}})
    assert [launch.resources_of(kind).processes for kind in ("main", "branch", "probe")] == [8, 4, 4]
    assert launch.processes_of("probe") == 4
    own = {"resources": {"branch": {"processes": 4}, "probe": {"processes": 1}}}
    assert LaunchConfig.model_validate(own).processes_of("probe") == 1
    assert LaunchConfig(processes=2).processes_of("probe") == 2


def test_the_batch_of_a_probe_divides_over_its_processes() -> None:
    values = config_values(launch={"processes": 2, "resources": {"probe": {"processes": 4}}})
    assert Config.model_validate(values)
    values["probes"] = {"p": {"at": "v2", "steps": 5, "data": {"v2": 1.0}}}
    with pytest.raises(ValidationError, match=r"launch.resources.probe: batch.sequences 2 does not divide over 4"):
        Config.model_validate(values)
