"""What a checkpoint says of chats, of ends of texts and of sampling is in every export of what it became."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from lrps.base.errors import ConfigError
from lrps.export.base_settings import carry_settings
from lrps.export.release import ExportFormat, export_state
from lrps.export.states import chosen_states
from lrps.paths.graph import TrainingPath
from lrps.plan.plan import Plan
from support.model_directories import change_json, model_directory
from support.tokenizers import load_tokenizer

TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
SAMPLING = {"do_sample": False, "temperature": 0.6, "top_p": 0.95, "max_new_tokens": 64}
END, OTHER_END = 0, 65


@pytest.fixture
def base(tmp_path: Path, plan: Plan) -> Path:
    """A checkpoint with a chat template, two EOS tokens, sampling settings and the tokenizer of the shards."""
    directory = model_directory(tmp_path / "base", vocab_size=257)
    shutil.copy(plan.config.data.tokenizer_path, directory / "tokenizer.json")
    library, _ = load_tokenizer(directory / "tokenizer.json")
    end, other = library.id_to_token(END), library.id_to_token(OTHER_END)
    settings = {
        "tokenizer_class": "LlamaTokenizer",
        "add_bos_token": True,
        "add_prefix_space": True,
        "bos_token": other,
        "eos_token": {"content": end, "special": True},
        "unk_token": "<not in the vocabulary>",
        "pad_token": other,
        "model_max_length": 8192,
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    (directory / "chat_template.jinja").write_text(TEMPLATE)
    ids = {"bos_token_id": OTHER_END, "eos_token_id": [END, OTHER_END], "pad_token_id": OTHER_END}
    (directory / "generation_config.json").write_text(json.dumps({**SAMPLING, **ids, "_from_model_config": True}))
    return directory


def carried(base: Path, tokenizer: Path, directory: Path) -> Path:
    """Write what an export has without a base, then carry the settings of the base over."""
    directory.mkdir()
    shutil.copy(tokenizer, directory / "tokenizer.json")
    for name in ("config.json", "generation_config.json"):
        (directory / name).write_text(json.dumps({"bos_token_id": END, "eos_token_id": END, "pad_token_id": END}))
    (directory / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|endoftext|>", "add_bos_token": False}))
    carry_settings(base, directory, END)
    return directory


def read(directory: Path, name: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((directory / name).read_text())
    return values


def test_an_export_of_a_run_from_a_checkpoint(
    base: Path,
    make: Callable[..., Plan],
    train_path: Callable[[Plan, TrainingPath], None],
    truth: Callable[[Plan, str, int], torch.nn.Module],
    tmp_path: Path,
) -> None:
    plan = make("model.architecture=null", f"model.checkpoint={base}", f"runs={tmp_path / 'of the checkpoint'}")
    train_path(plan, plan.graph.by_name["main"])
    train_path(plan, plan.graph.by_name["branch-v1"])
    (state,) = chosen_states(plan, ["branch-v1"])
    out = export_state(plan, state, tmp_path / "out", ExportFormat("fp32")).directory
    model, tokenizer = AutoModelForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    rows = torch.arange(48).view(3, 16)
    with torch.no_grad():
        assert torch.equal(model(input_ids=rows).logits, truth(plan, "branch-v1", state.step)(input_ids=rows).logits)
    assert model.generation_config.eos_token_id == model.config.eos_token_id == [END, OTHER_END]
    assert model.generation_config.bos_token_id == model.generation_config.pad_token_id == OTHER_END
    assert {key: getattr(model.generation_config, key) for key in SAMPLING} == SAMPLING
    chat = [{"role": "user", "content": "hi"}]
    assert tokenizer.apply_chat_template(chat, tokenize=False) == "<user>hi"
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (OTHER_END, END, OTHER_END)
    assert (len(tokenizer), tokenizer.model_max_length) == (257, 8192)
    library, _ = load_tokenizer(plan.config.data.tokenizer_path)
    for text in ("the path  switches", " A"):
        assert tokenizer(text).input_ids == library.encode(text, add_special_tokens=False).ids


def test_the_end_of_the_data_stays_an_end(base: Path, tmp_path: Path) -> None:
    change_json(base / "generation_config.json", lambda values: values.update(eos_token_id=OTHER_END))
    out = carried(base, base / "tokenizer.json", tmp_path / "out")
    assert read(out, "generation_config.json")["eos_token_id"] == [OTHER_END, END]
    change_json(base / "generation_config.json", lambda values: values.update(eos_token_id=END))
    out = carried(base, base / "tokenizer.json", tmp_path / "other")
    assert read(out, "generation_config.json")["eos_token_id"] == END


def test_ids_of_another_vocabulary_are_not_carried(base: Path, tmp_path: Path) -> None:
    other = tmp_path / "tokenizer.json"
    shutil.copy(base / "tokenizer.json", other)
    change_json(other, lambda values: values["model"]["vocab"].update(new=257))
    out = carried(base, other, tmp_path / "out")
    assert read(out, "generation_config.json") == {
        **SAMPLING, "bos_token_id": END, "eos_token_id": END, "pad_token_id": END,
    }  # fmt: skip
    assert read(out, "tokenizer_config.json") == {"eos_token": "<|endoftext|>", "add_bos_token": False}
    assert not (out / "chat_template.jinja").exists()


def test_several_templates_are_kept(base: Path, tmp_path: Path) -> None:
    (base / "additional_chat_templates").mkdir()
    (base / "additional_chat_templates" / "tool_use.jinja").write_text("tools")
    out = carried(base, base / "tokenizer.json", tmp_path / "out")
    assert all(path.is_file() for path in out.iterdir()), "an export has no folders"
    change_json(out / "tokenizer_config.json", lambda values: values.update(tokenizer_class="PreTrainedTokenizerFast"))
    assert AutoTokenizer.from_pretrained(out).chat_template == {"default": TEMPLATE, "tool_use": "tools"}


def test_a_checkpoint_without_any_settings_changes_nothing(base: Path, tmp_path: Path) -> None:
    for file in base.iterdir():
        if file.name not in ("tokenizer.json", "model.safetensors"):
            file.unlink()
    out = carried(base, base / "tokenizer.json", tmp_path / "out")
    assert read(out, "generation_config.json") == {"bos_token_id": END, "eos_token_id": END, "pad_token_id": END}
    assert read(out, "tokenizer_config.json") == {"eos_token": "<|endoftext|>", "add_bos_token": False}


def test_a_template_in_another_encoding_is_not_changed_unseen(base: Path, plan: Plan, tmp_path: Path) -> None:
    (base / "additional_chat_templates").mkdir()
    (base / "additional_chat_templates" / "tool_use.jinja").write_bytes("größer".encode("latin-1"))
    with pytest.raises(ConfigError, match="tool_use.jinja: is no text in UTF-8"):
        carried(base, plan.config.data.tokenizer_path, tmp_path / "export")
