"""The model of a config as `lrps doctor` sees it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lrps.config.loader import load_config
from lrps.config.models import Config
from lrps.doctor.examination import Subject
from lrps.doctor.finding import Finding
from lrps.doctor.model import check_model
from lrps.plan.plan import Plan, make_plan
from support.model_directories import change_json, model_directory


def found(config: Path, *overrides: str) -> Finding:
    return next(check_model(Subject(make_plan(load_config(config, overrides)))))


def test_a_model_that_can_be_trained(tiny_config: Path) -> None:
    finding = found(tiny_config)
    assert (finding.state, finding.what) == ("ok", "llama newly initialised, vocabulary of 257")
    assert list(check_model(Subject())) == []


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ((), "adamw with exp_avg (F32, all parameters), exp_avg_sq (F32, all parameters)"),
        (
            ("optimizer.kind=lion",),
            "lion with exp_avg (F32, all parameters); the law of `lrps forecast` was fitted to runs with AdamW",
        ),
        (
            ("optimizer.kind=muon", "engine.precision=bf16"),
            "muon with momentum_buffer (BF16, matrices), exp_avg (F32, other parameters), exp_avg_sq (F32, other "
            "parameters); the law of `lrps forecast` was fitted to runs with AdamW",
        ),
    ],
)
def test_the_optimizer_is_named(changes: tuple[str, ...], what: str, tiny_config: Path) -> None:
    findings = {each.name: each for each in check_model(Subject(make_plan(load_config(tiny_config, changes))))}
    assert (findings["optimizer"].state, findings["optimizer"].what) == ("ok", what)


@pytest.mark.parametrize(
    ("change", "what", "fix"),
    [
        ("num_kv_heads=2", "num_kv_heads: a llama model has no such key", "did you mean 'num_key_value_heads'?"),
        ("vocab_size=100", "the model has a vocabulary of 100", "give model.architecture.vocab_size 257 or more"),
    ],
)
def test_an_architecture_that_cannot(change: str, what: str, fix: str, tiny_config: Path) -> None:
    finding = found(tiny_config, f"model.architecture.{change}")
    assert finding.state == "fail"
    assert what in finding.what
    assert finding.way_out.startswith(fix)


def test_the_names_of_weights_are_compared(tiny_config: Path, tmp_path: Path) -> None:
    directory = model_directory(tmp_path, vocab_size=257)
    settings = ("model.architecture=null", f"model.checkpoint={directory}")
    assert found(tiny_config, *settings).what == f"llama from {directory}, vocabulary of 257"
    change_json(directory / "config.json", lambda values: values.update(num_hidden_layers=1))
    finding = found(tiny_config, *settings)
    assert "that the model of its config.json does not have: model.layers.1" in finding.what
    assert finding.way_out.startswith("correct the config")


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
    *_, last = check_model(Subject(plan))
    assert (last.state, what in f"{last.what}; {last.way_out}") == (state, True)
    assert not (tmp_path / "runs").exists(), "doctor changes nothing"
