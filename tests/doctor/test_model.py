"""The check of a config's model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lrps.config.models import Config
from lrps.doctor.examination import Subject
from lrps.doctor.finding import Finding
from lrps.doctor.model import check_model
from lrps.plan.plan import Plan

SIZES = {"vocab_size": 257, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1,
         "num_attention_heads": 4}  # fmt: skip


@pytest.mark.parametrize(
    ("architecture", "state", "what"),
    [
        ({**SIZES, "model_type": "llama"}, "ok", "every parameter is trained"),
        ({**SIZES, "model_type": "bert"}, "fail", "a bert model is not causal"),
        ({**SIZES, "model_type": "big_bird", "is_decoder": True}, "warn", "has bert.pooler.weight"),
        ({**SIZES, "model_type": "lama"}, "fail", "did you mean 'llama'"),
    ],
    ids=lambda value: value["model_type"] if isinstance(value, dict) else None,
)
def test_the_verdict_becomes_findings(
    architecture: dict[str, Any], state: str, what: str, make_config: Callable[..., Config], tmp_path: Path
) -> None:
    plan = Plan(make_config(model={"architecture": architecture}, runs=str(tmp_path / "runs")), (), {})
    (found,) = check_model(Subject(plan))
    assert isinstance(found, Finding)
    assert found.state == state
    assert what in found.what
    assert not (tmp_path / "runs").exists(), "doctor changes nothing"


def test_without_a_config_there_is_no_model() -> None:
    assert list(check_model(Subject())) == []
