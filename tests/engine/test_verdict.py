"""Verdicts in the run directory: a model is examined once, and again when anything that matters has changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lrps.base.errors import ConfigError
from lrps.config.models import Config
from lrps.engine.examination import Verdict
from lrps.engine.model_config import model_config
from lrps.engine.verdict import check_trainable, examine_model

MakeConfig = Callable[..., Config]
LLAMA = {"model_type": "llama", "vocab_size": 257, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1,
         "num_attention_heads": 4}  # fmt: skip
BERT = {**LLAMA, "model_type": "bert"}


def examined(config: Config, file: Path) -> Verdict:
    return examine_model(config, model_config(config.model), file)


def test_a_verdict_is_remembered_until_the_config_changes(make_config: MakeConfig, tmp_path: Path) -> None:
    file, config = tmp_path / "run" / "examination.json", make_config(model={"architecture": LLAMA})
    verdict = examined(config, file)
    assert (verdict.faults, verdict.notes) == ((), ())
    written = json.loads(file.read_text())
    file.write_text(json.dumps({**written, "notes": ["remembered"]}))
    assert examined(config, file).notes == ("remembered",)
    assert check_trainable(config, model_config(config.model), file) == ("remembered",)
    for other in (
        {"engine": {"activation_checkpointing": True}},
        {"model": {"architecture": {**LLAMA, "head_dim": 4}}},
    ):
        assert examined(make_config(**{"model": {"architecture": LLAMA}, **other}), file).notes == ()
        file.write_text(json.dumps({**written, "notes": ["remembered"]}))


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"format": "lrps-examination/2"}'])
def test_a_file_that_is_none_is_replaced(damage: str, make_config: MakeConfig, tmp_path: Path) -> None:
    file, config = tmp_path / "examination.json", make_config(model={"architecture": LLAMA})
    file.write_text(damage)
    assert examined(config, file).faults == ()
    assert json.loads(file.read_text())["format"] == "lrps-examination/1"


def test_a_model_with_a_fault_is_refused_each_time(make_config: MakeConfig, tmp_path: Path) -> None:
    file, config = tmp_path / "examination.json", make_config(model={"architecture": BERT})
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"a bert model is not causal.*set model.architecture.is_decoder: true"):
            check_trainable(config, model_config(config.model), file)
