"""A run begun under older conventions keeps them in every path, and training says what they cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lrps.base.errors import ConfigError
from lrps.config.loader import load_config
from lrps.engine.fragments import open_state
from lrps.engine.model import build_skeleton
from lrps.plan.plan import Plan, make_plan
from lrps.plan.status import check_run_dir
from lrps.store.checkpoints import complete_checkpoints
from support.plain_engine import run

GEMMA: dict[str, Any] = {
    "model_type": "gemma2", "vocab_size": 257, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 64,
    "tie_word_embeddings": False, "pad_token_id": 105,
}  # fmt: skip
EMBEDDING = "model.embed_tokens.weight"


BERT = {
    "model_type": "bert", "vocab_size": 257, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
    "num_attention_heads": 2,
}  # fmt: skip


def make(tiny_config: Path, tmp_path: Path, architecture: dict[str, Any] = GEMMA) -> Plan:
    settings = [f"runs={tmp_path / 'runs'}", f"model.architecture={json.dumps(architecture)}"]
    return make_plan(load_config(tiny_config, settings))


def row(plan: Plan, path: str) -> Any:
    """Return the row of the padding token in the newest state of a path."""
    newest = complete_checkpoints(plan.layout.path(path).checkpoints)[-1]
    shapes = {name: list(each.shape) for name, each in build_skeleton(plan.config.model).named_parameters()}
    with open_state(newest.directory, shapes) as state:
        return state.read(EMBEDDING)[105]


def test_a_run_begun_with_padding_rows_keeps_them_and_says_so(
    tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = make(tiny_config, tmp_path)
    old.__dict__["conventions"] = {}  # As a version without conventions.
    run(old, "main")
    capsys.readouterr()

    plan = make(tiny_config, tmp_path)
    run(plan, "branch-v1")
    said = " ".join(capsys.readouterr().out.split())
    assert "branch-v1: row 105 of model.embed_tokens is not trained: the run was begun when" in said
    assert not row(plan, "branch-v1").any()
    check_run_dir(plan, plan.graph.paths)
    assert "padding" not in json.loads(plan.layout.path("branch-v1").path_json.read_text())["training"]


def test_a_new_run_trains_every_row(tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = make(tiny_config, tmp_path)
    run(plan, "main")
    assert "is not trained" not in capsys.readouterr().out
    assert row(plan, "main").any()
    assert json.loads(plan.layout.path("main").path_json.read_text())["training"]["padding"] == "none"


def test_a_model_with_a_fault_is_refused_before_anything_is_written(tiny_config: Path, tmp_path: Path) -> None:
    plan = make(tiny_config, tmp_path, BERT)
    with pytest.raises(ConfigError, match="a bert model is not causal"):
        run(plan, "main")
    assert not plan.layout.path("main").directory.exists()
    assert plan.layout.examination.exists()
