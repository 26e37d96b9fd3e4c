"""The `synthesis` of a rehearsal set: its defaults are the paper's, and what makes no sense is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from lrps.config.models import Config
from lrps.config.rehearsing import Synthesis
from support.values import config_values

MakeConfig = Callable[..., Config]


def with_set(make_config: MakeConfig, **changes: Any) -> Config:
    data = {
        **config_values()["data"],
        "rehearsal": [{"name": "r", "since": "v2", "synthesis": {"of": "v1"}, **changes}],
    }
    return make_config(data=data)


SERVER = {"url": "http://h/v1", "model": "m"}


def test_the_defaults_are_the_papers() -> None:
    made = Synthesis(of="v1")  # type: ignore[arg-type]
    assert made.of == ("v1",)
    assert (made.demonstrations, made.demonstration_share, made.samples) == (2, 0.01, 3)
    assert (made.top_p, made.temperature, made.penalty, made.max_tokens) == (0.6, 0.9, 1.2, 2048)
    assert (made.clusters, made.ratio, made.selection, made.refine) == (20, 0.1, "kmeans", True)
    assert made.marks == ("Input:", "Output:")


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"of": []}, "of: name a version, or several, each once"),
        ({"of": ["v1", "v1"]}, "each once"),
        ({"task": "Say."}, "kind documents has no task"),
        ({"kind": "pairs", "prefix_tokens": 4}, "kind pairs has no prefix_tokens"),
        ({"kind": "pairs", "input_mark": " "}, "need a visible character"),
        ({"kind": "pairs", "input_mark": "A", "output_mark": " A "}, "must differ"),
        ({"selection": "random", "clusters": 4}, "selection random has no clusters"),
        ({"generator": {"url": "http://h/v1", "model": "m"}, "base": "b"}, "the server has the base model"),
        ({"generator": {"url": "http://h/v1", "model": "m", "key": "secret"}}, "Extra inputs are not permitted"),
        ({"agree": True}, "kind documents has no agree"),
        ({"kind": "pairs", "agree": True, "refine": False}, "without refine there is no agree"),
        ({"generator": SERVER, "latest": SERVER}, "servers have both models; give an encoder"),
        ({"temperature": 0.0}, "greater than 0"),
        ({"top_p": 1.5}, "less than or equal to 1"),
        ({"demonstrations": 0}, "greater than or equal to 1"),
        ({"ratio": 0}, "greater than 0"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        Synthesis.model_validate({"of": "v1", **changes})


@pytest.mark.parametrize("changes", [{}, {"kind": "pairs", "task": "Say."}, {"selection": "random"}])
def test_what_is_written_down_is_read_again(make_config: MakeConfig, changes: dict[str, Any]) -> None:
    """As plan.json does, with every key."""
    config = with_set(make_config, synthesis={"of": "v1", **changes})
    assert Config.model_validate_json(config.model_dump_json()) == config


def test_a_set_rehearses_what_came_before_it(make_config: MakeConfig) -> None:
    assert with_set(make_config).data.rehearsal[0].synthesis is not None
    with pytest.raises(ValidationError, match="rehearsal.r.synthesis.of: v2 is no version before v2"):
        with_set(make_config, synthesis={"of": ["v1", "v2"]})
    with pytest.raises(ValidationError, match="rehearsal.r.synthesis.of: v9 is no version"):
        with_set(make_config, synthesis={"of": "v9"})


@pytest.mark.parametrize("other", [{"text": ["a.txt"]}, {"url": "s3://lake/r"}])
def test_a_set_has_one_maker(make_config: MakeConfig, other: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="synthesis makes the set: leave out 'text', 'url' and 'mixture'"):
        with_set(make_config, **other)


def test_an_endpoint_is_written_down_without_its_secrets() -> None:
    made = Synthesis.model_validate({"of": "v1", "generator": {"url": "http://me:planted@h/v1?key=k", "model": "m"}})
    assert "planted" not in str(made.model_dump(mode="json"))


def test_a_server_gets_a_penalty_only_if_it_is_asked_for() -> None:
    """It would penalize the marks of the prompt too."""
    assert Synthesis.model_validate({"of": "v1", "generator": SERVER}).penalty == 1
    assert Synthesis.model_validate({"of": "v1", "generator": SERVER, "repetition_penalty": 1.1}).penalty == 1.1
    assert Synthesis.model_validate({"of": "v1", "latest": SERVER}).penalty == 1.2
