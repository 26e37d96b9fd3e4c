"""The model of a config as `lrps doctor` sees it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lrps.config.loader import load_config
from lrps.doctor.examination import Subject
from lrps.doctor.finding import Finding
from lrps.doctor.model import check_model
from lrps.plan.plan import make_plan
from support.model_directories import change_json, model_directory


def found(config: Path, *overrides: str) -> Finding:
    (finding,) = check_model(Subject(make_plan(load_config(config, overrides))))
    return finding


def test_a_model_that_can_be_trained(tiny_config: Path) -> None:
    finding = found(tiny_config)
    assert (finding.state, finding.what) == ("ok", "llama newly initialised, vocabulary of 257")
    assert list(check_model(Subject())) == []


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
