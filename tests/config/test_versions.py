"""Versions, the parts of their mixtures, and their shards."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from lrps.config.data import DataConfig
from lrps.config.versions import Rehearsal, Version

WEB, CODE = {"text": ["web.jsonl"], "weight": 3}, {"url": "https://host/code", "weight": 1, "epochs": 2}


def test_a_mixture_has_a_set_of_shards_for_each_part() -> None:
    version = Version.model_validate({"name": "v1", "mixture": {"web": WEB, "code": CODE}})
    assert [(shards.name, shards.version) for shards in version.shard_sets] == [("v1.code", "v1"), ("v1.web", "v1")]
    code, web = version.shard_sets
    assert (code.url, code.command) == ("https://host/code", "lrps data fetch CONFIG")
    assert (web.text, web.command) == (("web.jsonl",), "lrps data build CONFIG")


def test_a_version_without_a_mixture_is_one_set() -> None:
    (shards,) = Version(name="v1", text=("a.txt",)).shard_sets
    assert (shards.name, shards.version, shards.text) == ("v1", "v1", ("a.txt",))
    made = Rehearsal.model_validate({"name": "r", "since": "v2", "synthesis": {"of": ["v1"], "ratio": 0.1}})
    assert made.shard_sets[0].command == "lrps rehearse CONFIG r"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mixture": {"web": WEB}}, "at least 2 items"),
        ({"mixture": {"web": WEB, "code": {"weight": 0}}}, "greater than 0"),
        ({"mixture": {"web": WEB, "code": {"weight": -1}}}, "greater than 0"),
        ({"mixture": {"web": WEB, "code": {"weight": float("inf")}}}, "finite number"),
        ({"mixture": {"web": WEB, "code": {"text": ["c.txt"]}}}, r"mixture.code.weight\s+Field required"),
        ({"mixture": {"web": WEB, "code": {"weight": 1, "tokens": 5}}}, "Extra inputs are not permitted"),
        ({"mixture": {"web": WEB, "c.d": {"weight": 1}}}, "match pattern"),
        ({"mixture": {"web": WEB, "code": CODE}, "text": ["a.txt"]}, "leave out 'text' and 'url' beside 'mixture'"),
        ({"mixture": {"web": WEB, "code": CODE}, "url": "https://x/y"}, "leave out 'text' and 'url' beside 'mixture'"),
        ({"epochs": 0}, "greater than 0"),
        ({"epochs": float("inf")}, "finite number"),
        ({"epochs": "2"}, "valid number"),
    ],
)
def test_refusals(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Version.model_validate({"name": "v1", **changes})


def test_a_set_that_models_write_is_no_mixture() -> None:
    values = {"name": "r", "since": "v2", "synthesis": {"of": ["v1"], "ratio": 0.1}, "mixture": {"a": WEB, "b": CODE}}
    with pytest.raises(ValidationError, match="synthesis makes the set"):
        Rehearsal.model_validate(values)


def test_two_versions_cannot_have_shards_of_the_same_names() -> None:
    versions = [{"name": "v1", "mixture": {"web": WEB, "code": CODE}}, {"name": "v1-web", "tokens": 8}]
    with pytest.raises(ValidationError, match="the shards of v1.web and v1-web would have the same names"):
        DataConfig.model_validate({"root": "x", "sequence_length": 8, "versions": versions})
