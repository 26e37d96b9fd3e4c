"""The order of rehearsal sets and paths: who writes a set, and sets that would wait for each other."""

from __future__ import annotations

from typing import Any

import pytest

from lrps.base.errors import ConfigError
from lrps.config.models import Config
from lrps.paths.graph import Release
from lrps.plan.plan import Plan, make_plan
from lrps.plan.set_order import _circle, default_latest, writers
from support.values import config_values


def plan_of(paradigms: dict[str, Any], **sets: dict[str, Any]) -> Plan:
    """Return a plan without shards. sets: `since` and synthesis of each set."""
    values = config_values(paradigms=paradigms)
    values["data"]["rehearsal"] = [
        {"name": name, "since": each.pop("since", "v2"), "tokens": 80, "synthesis": {"of": "v1", **each}}
        for name, each in sets.items()
    ]
    return make_plan(Config.model_validate(values))


def latest(plan: Plan) -> list[str]:
    return [default_latest(plan.config, each) for each in plan.config.data.rehearsal]


def test_each_paradigm_is_refined_by_its_own_model() -> None:
    plan = plan_of(
        {
            "path-switching": {"mix": {"extra": {"a": 0.1, "both": 0.1}}},
            "cpt": {"mix": {"extra": {"b": 0.1, "both": 0.1}}},
        },
        a={},
        b={"since": "v3"},
        both={},
        neither={},
    )
    assert latest(plan) == ["path-switching/v1", "cpt/v2", "path-switching/v1", "path-switching/v1"]
    found = writers(plan.config, plan.graph)
    assert found["a"] == (Release("v1", "branch-v1", 100),)
    assert found["b"] == (Release("v2", "cpt-v2", 210),)
    assert found["both"] == found["a"]


def test_models_that_the_plan_does_not_train_are_not_waited_for() -> None:
    plan = plan_of({"cpt": {}}, a={"base": "/models/theta-0", "latest": "/models/latest"}, b={"refine": False})
    assert writers(plan.config, plan.graph) == {"a": (), "b": (Release("v1", "cpt-v1", 100),)}, "the base of b"
    plan = plan_of({"cpt": {}, "path-switching": {}}, a={"latest": "cpt/v1", "refine": False})
    assert writers(plan.config, plan.graph) == {"a": (Release("v1", "cpt-v1", 100),)}, "the base, named as the latest"


def test_many_sets_are_ordered_in_little_time() -> None:
    """Each set is written by a model that was trained on all sets before: the ways through them double with each."""
    needs = {f"r{k}": {f"r{earlier}" for earlier in range(k)} for k in range(60)}
    assert _circle(needs) == []
    assert _circle({**needs, "r0": {"r59"}}) == ["r0", "r59", "r0"]


def test_a_set_does_not_wait_for_itself() -> None:
    with pytest.raises(ConfigError, match="a is written by a model that is itself trained on a; let an"):
        _ = plan_of({"cpt": {"mix": {"extra": {"a": 0.1}}}}, a={"latest": "cpt/v2"}).graph


def test_two_sets_in_a_circle_are_named() -> None:
    paradigms = {
        "one": {"kind": "cpt", "mix": {"extra": {"a": 0.1}}},
        "two": {"kind": "cpt", "peak_lr": 5e-3, "mix": {"extra": {"b": 0.1}}},
    }
    with pytest.raises(ConfigError, match="a is written by a model that is trained on b, and b is .* trained on a"):
        _ = plan_of(paradigms, a={"latest": "two/v2"}, b={"latest": "one/v2"}).graph
    plan = plan_of(paradigms, a={"latest": "two/v1"}, b={"latest": "one/v2"})
    assert [release.path for release in writers(plan.config, plan.graph)["b"]] == ["one-v2"]
