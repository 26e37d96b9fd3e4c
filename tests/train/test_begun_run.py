"""A run begun under older conventions keeps them in every path, and training says what they cost."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from lrps.base.errors import ConfigError
from lrps.config.loader import load_config
from lrps.doctor.examination import Subject
from lrps.doctor.model import check_model as doctor_check_model
from lrps.engine.model import build_skeleton
from lrps.engine.state_files.reading import open_state
from lrps.export.release import ExportFormat, export_state
from lrps.export.states import chosen_states
from lrps.launch.preflight import check_model_fits
from lrps.plan.plan import Plan, make_plan
from lrps.plan.status import check_run_dir
from lrps.store.checkpoints import complete_checkpoints
from lrps.store.conventions import NEWEST
from lrps.store.identity import training_digest
from lrps.train import job
from support.model_directories import change_json, change_weights, model_directory
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


BEGUN_WITH = {
    "nested key": (
        {**BERT, "model_type": "llama", "rope_parameters": {"rope_type": "default", "rope_thta": 3.0}},
        "rope_thta: has no effect",
    ),
    "two names of one value": (
        {"model_type": "gpt2", "vocab_size": 257, "n_embd": 16, "hidden_size": 16, "n_layer": 1, "n_head": 2,
         "n_positions": 64, "max_position_embeddings": 128},
        "is another name of n_positions, which has another value",
    ),
    "not causal": (BERT, "a bert model is not causal"),
}  # fmt: skip
"""Architecture of a run begun before it was refused, and the fault."""


def make(tiny_config: Path, tmp_path: Path, architecture: dict[str, Any] = GEMMA) -> Plan:
    settings = [f"runs={tmp_path / 'runs'}", f"model.architecture={json.dumps(architecture)}"]
    return make_plan(load_config(tiny_config, settings))


def begin(plan: Plan) -> None:
    """Train the main path of a plan as a version without conventions, which examined no models."""
    plan.__dict__["conventions"] = {}
    run(plan, "main")


def row(plan: Plan, path: str) -> Any:
    """Return the row of the padding token in the newest state of a path."""
    newest = complete_checkpoints(plan.layout.path(path).checkpoints)[-1]
    shapes = {name: list(each.shape) for name, each in build_skeleton(plan.config.model).named_parameters()}
    with open_state(newest.directory, shapes) as state:
        return state.read(EMBEDDING)[105]


def test_a_run_begun_with_padding_rows_keeps_them_and_says_so(
    tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begin(make(tiny_config, tmp_path))
    capsys.readouterr()

    plan = make(tiny_config, tmp_path)
    run(plan, "branch-v1")
    said = " ".join(capsys.readouterr().out.split())
    assert "branch-v1: row 105 of model.embed_tokens is not trained: the run was begun when" in said
    assert not row(plan, "branch-v1").any()
    check_run_dir(plan, plan.graph.paths)
    assert "padding" not in json.loads(plan.layout.path("branch-v1").path_json.read_text())["training"]


@pytest.mark.parametrize("architecture", BEGUN_WITH)
def test_a_run_begun_with_what_is_refused_now_is_trained_to_its_end_and_says_so(
    architecture: str, tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, fault = BEGUN_WITH[architecture]
    begin(make(tiny_config, tmp_path, given))

    plan = make(tiny_config, tmp_path, given)
    check_model_fits(plan)
    warnings = [finding for finding in doctor_check_model(Subject(plan)) if finding.state != "ok"]
    assert [(finding.state, fault in finding.what) for finding in warnings] == [("warn", True)]
    capsys.readouterr()
    run(plan, "branch-v1")
    said = " ".join(capsys.readouterr().out.split())
    assert fault in said
    assert "this run was begun before, and keeps its model" in said
    (state,) = chosen_states(plan, ["branch-v1"])
    assert export_state(plan, state, tmp_path / "exported", ExportFormat("fp32")).made

    with pytest.raises(ConfigError, match=fault):
        run(make(tiny_config, tmp_path / "other", given), "main")


def own_code(directory: Path) -> None:
    change_json(directory / "config.json", lambda values: values.update(auto_map={"AutoConfig": "code.Config"}))


def adapter(directory: Path) -> None:
    save_file({"lora_A.weight": torch.ones(2, 2)}, directory / "adapter_model.safetensors")


def other_head(directory: Path) -> None:
    change_json(directory / "config.json", lambda values: values.update(tie_word_embeddings=True))


def surplus(directory: Path) -> None:
    change_weights(directory, lambda weights: weights.update({"v_head.weight": torch.ones(1, 32)}))


FAULTS: dict[Callable[[Path], None], str] = {
    own_code: "code of its own (auto_map in config.json)",
    adapter: "has an adapter (LoRA, PEFT) beside the weights",
    other_head: "lm_head.weight differs from model.embed_tokens.weight",
    surplus: "does not have: v_head.weight",
}


@pytest.mark.parametrize("changes", [(own_code, other_head), (adapter, surplus)])
def test_a_run_begun_with_a_checkpoint_that_is_refused_now_is_trained_to_its_end_and_says_so(
    changes: tuple[Callable[[Path], None], ...],
    tiny_config: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    checkpoint = model_directory(tmp_path / "model", vocab_size=257, num_hidden_layers=1, eos_token_id=0)
    for change in changes:
        change(checkpoint)
    settings = ["model.architecture=null", f"model.checkpoint={checkpoint}"]

    def make_from_it(runs: str) -> Plan:
        return make_plan(load_config(tiny_config, [*settings, f"runs={tmp_path / runs}"]))

    begin(make_from_it("runs"))
    plan = make_from_it("runs")
    check_model_fits(plan)
    findings = list(doctor_check_model(Subject(plan)))
    assert all(finding.state != "fail" for finding in findings)
    for change in set(changes) - {other_head}:  # Doctor reads no values.
        assert any(FAULTS[change] in finding.what for finding in findings if finding.state == "warn")
    capsys.readouterr()
    run(plan, "branch-v1")
    said = " ".join(capsys.readouterr().out.split())
    assert [said.count(FAULTS[change]) for change in changes] == [1, 1]
    assert said.count("this run was begun before, and keeps its model") == 2

    (state,) = chosen_states(plan, ["branch-v1"])
    export_state(plan, state, tmp_path / "exported", ExportFormat("fp32"))
    exported = AutoModelForCausalLM.from_pretrained(tmp_path / "exported")
    head, embedding = exported.lm_head.weight, exported.model.embed_tokens.weight
    assert head is not embedding
    assert not torch.equal(head, embedding)
    assert exported.config.tie_word_embeddings is False

    with pytest.raises(ConfigError, match=re.escape(FAULTS[changes[0]])):
        run(make_from_it("other"), "main")


def test_a_rank_that_finds_other_conventions_follows_those_of_rank_0(
    tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make(tiny_config, tmp_path)
    assert (plan.conventions, plan.begun) == (NEWEST, False)
    newest = plan.training_sha256

    def answer_of_another_rank(question: Callable[[], Any], _kind: Any = None) -> Any:
        answer = question()
        return {} if answer == NEWEST else answer

    monkeypatch.setattr(job, "ask_rank_zero", answer_of_another_rank)
    run(plan, "main", stop_after=8)
    assert not row(plan, "main").any()
    identity = json.loads(plan.layout.path("main").path_json.read_text())
    assert not identity["training"].keys() & NEWEST.keys()
    newest_state = complete_checkpoints(plan.layout.path("main").checkpoints)[-1]
    assert newest_state.identity["training_sha256"] == training_digest(identity) != newest


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
