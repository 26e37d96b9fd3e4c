"""The section of the optimizer: kinds and their keys, and the identity that AdamW had when it was the only one."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from lrps.base.errors import ConfigError
from lrps.config.loader import load_config
from lrps.config.models import Config
from lrps.config.optimizing import BUILTIN, AdamWConfig
from support.values import config_values


def of(optimizer: dict[str, Any], **more: Any) -> Any:
    return Config.model_validate(config_values(optimizer=optimizer, **more)).optimizer


@pytest.mark.parametrize("given", [{}, {"kind": "adamw"}])
def test_the_identity_of_adamw_is_that_of_the_time_before_there_were_kinds(given: dict[str, Any]) -> None:
    """The bytes that were hashed are those of a path.json that lrps wrote when AdamW was the only optimizer."""
    own = json.dumps(of(given).identity())
    assert own == (
        '{"betas": [0.9, 0.95], "eps": 1e-08, "weight_decay": 0.1, "no_weight_decay": [], "clip_grad_norm": 1.0}'
    )
    assert sha256(own.encode()).hexdigest().startswith("519fdb7db65d10d0")


@pytest.mark.parametrize("kind", sorted(BUILTIN.keys() - {"adamw"}))
def test_other_kinds_are_named_in_the_identity(kind: str) -> None:
    identity = of({"kind": kind}).identity()
    assert identity["kind"] == kind
    assert identity.keys() == BUILTIN[kind].model_fields.keys()


def test_a_config_without_a_kind_has_adamw() -> None:
    assert isinstance(of({"betas": [0.8, 0.9]}), AdamWConfig)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{kind: muonn}", "optimizer.kind: must be one of adamw, muon, lion; did you mean 'muon'? (got 'muonn')"),
        ("{kind: null}", "optimizer.kind: must be one of adamw, muon, lion (got 'None')"),
        ("{kind: muon, momentun: 0.9}", "optimizer.momentun: unknown key; did you mean 'momentum'? (got 0.9)"),
        ("{kind: lion, eps: 1e-8}", "optimizer.eps: unknown key; known keys: weight_decay, no_weight_decay,"),
        ("{lr_ratio: 2}", "optimizer.lr_ratio: unknown key; known keys: betas, eps,"),
        ("{kind: muon, lr_ratio: 0}", "optimizer.lr_ratio: Input should be greater than 0 (got 0)"),
        ("{kind: lion, betas: [0.9, 1.0]}", "optimizer.betas.1: Input should be less than 1 (got 1.0)"),
        ("lion", "optimizer: a mapping of keys is needed here (got 'lion')"),
    ],
)
def test_a_wrong_section_is_explained(tiny_config: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as wrong:
        load_config(tiny_config, [f"optimizer={text}"])
    assert message in str(wrong.value)


@pytest.mark.parametrize(
    ("passed", "key"),
    [
        ({"zero_optimization": {"offload_optimizer": {"device": "cpu"}}}, "zero_optimization.offload_optimizer"),
        ({"communication_data_type": "fp32"}, "communication_data_type"),
        ({"zero_optimization": {"reduce_scatter": True}}, "zero_optimization.reduce_scatter"),
    ],
)
def test_muon_refuses_settings_that_it_was_not_tried_with(passed: dict[str, Any], key: str) -> None:
    engine = {"zero_stage": 2, "deepspeed": passed}
    with pytest.raises(ValidationError, match=f"engine.deepspeed.{key} is not supported with optimizer.kind muon"):
        of({"kind": "muon"}, engine=engine)
    of({"kind": "adamw"}, engine=engine)


def test_matrices_have_the_weight_decay_of_the_others_unless_they_have_one_of_their_own() -> None:
    assert of({"kind": "muon", "weight_decay": 0.2}).decay_of_matrices == 0.2
    assert of({"kind": "muon", "weight_decay": 0.2, "matrix_weight_decay": 0.0}).decay_of_matrices == 0.0
