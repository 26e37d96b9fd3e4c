"""Directories that transformers would load wrongly, or not at all, are refused before it sees them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lrps.base.errors import ConfigError
from lrps.store.identity import weights_digest
from lrps.store.model_files import check_model_files, weight_files
from support.model_directories import INDEX, WEIGHTS, change_json, change_weights, model_directory

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 26\n"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_directory(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_directory(tmp_path_factory.mktemp("sharded"), shards=3)


def config(**values: Any) -> Callable[[Path], None]:
    return lambda directory: change_json(directory / "config.json", lambda all_values: all_values.update(values))


def weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    return lambda directory: change_weights(directory, change)


def text(name: str, content: str) -> Callable[[Path], object]:
    return lambda directory: (directory / name).write_text(content)


def pickled(directory: Path) -> None:
    torch.save(load_file(directory / WEIGHTS), directory / "pytorch_model.bin")
    (directory / WEIGHTS).unlink()


def truncated(directory: Path) -> None:
    (directory / WEIGHTS).write_bytes((directory / WEIGHTS).read_bytes()[:-1])


def both(directory: Path) -> None:
    names = dict.fromkeys(load_file(directory / WEIGHTS), WEIGHTS)
    (directory / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": names}))


def outside(directory: Path) -> str:
    (directory.parent / "elsewhere").write_text("{}")
    return "../elsewhere"


def tokenizer_file(directory: Path, name: str) -> None:
    (directory / "tokenizer_config.json").write_text(json.dumps({"tokenizer_file": name}))


def link_out(directory: Path, name: str) -> None:
    shutil.move(directory / name, directory.parent / name)
    (directory / name).symlink_to(directory.parent / name)


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "adapter beside the weights": (
        text("adapter_config.json", '{"peft_type": "LORA"}'),
        "adapter .*merge_and_unload",
    ),
    "adapter weights alone": (text("adapter_model.safetensors", ""), "adapter"),
    "quantized by config": (config(quantization_config={"quant_method": "gptq", "bits": 4}), r"quantized \(gptq in"),
    "quantized text part": (config(text_config={"quantization_config": {"bits": 4}}), "quantized"),
    "8-bit weights": (weights(lambda w: w.update(x=torch.ones(4, 4, dtype=torch.int8))), r"quantized \(.* type I8"),
    "fp8 weights": (
        weights(lambda w: w.update({n: v.to(torch.float8_e4m3fn) for n, v in w.items() if "mlp" in n})),
        r"mlp.* is quantized \(numbers of type F8_E4M3\)",
    ),
    "code of its own": (config(auto_map={"AutoModelForCausalLM": "modeling.Mine"}), "code of its own .* 'llama'"),
    "weights of another name": (config(transformers_weights="other.safetensors"), "names other weights"),
    "no weights": (lambda d: (d / WEIGHTS).unlink(), "has a config and no weights"),
    "pickles": (pickled, r"its weights are pickles \(pytorch_model.bin\).*save_pretrained"),
    "weights under another name": (lambda d: (d / WEIGHTS).rename(d / "consolidated.safetensors"), "consolidated"),
    "pointer for weights": (text(WEIGHTS, POINTER), "model.safetensors is a Git LFS pointer.*`git lfs pull` in"),
    "pointer for the tokenizer": (text("tokenizer.json", POINTER), "tokenizer.json is a Git LFS pointer"),
    "truncated weights": (truncated, "has .* bytes and should have"),
    "no safetensors": (text(WEIGHTS, "<html>Access denied</html>"), "is no safetensors file"),
    "empty weights": (text(WEIGHTS, ""), "is no safetensors file"),
    "index of an adapter": (text("adapter_model.safetensors.index.json", "{}"), "adapter"),
    "link to weights elsewhere": (lambda d: link_out(d, WEIGHTS), "is a link out of its directory.*copy the file"),
    "link to a config elsewhere": (lambda d: link_out(d, "config.json"), "is a link out of its directory"),
    "link to an extra file": (lambda d: (d / "chat_template.jinja").symlink_to("/etc/passwd"), "to /etc/passwd"),
    "link to a directory": (lambda d: (d / "original").symlink_to("/etc"), "is a link out of its directory"),
    "link to a device": (lambda d: (d / "x.safetensors").symlink_to("/dev/zero"), "is a link out of its directory"),
    "pipe": (lambda d: os.mkfifo(d / "x.json"), "is a device or a pipe and no file"),
    "tokenizer elsewhere": (lambda d: tokenizer_file(d, "/etc/passwd"), "tokenizer_file .* names /etc/passwd"),
    "tokenizer above": (lambda d: tokenizer_file(d, outside(d)), "tokenizer_file .* names .*elsewhere"),
    "settings that are too deep": (text("tokenizer_config.json", '{"a":' * 200 + "1" + "}" * 200), "inside each other"),
    "a billion layers": (config(num_hidden_layers=10**9), "num_hidden_layers in .* is 1000000000, but the weights"),
    "a vocabulary of petabytes": (config(vocab_size=10**15), "vocab_size in .* rows or columns; copy or download"),
    "two sets of weights": (both, "has both model.safetensors and"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_directory_is_refused(kind: str, sound: Path, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(sound, tmp_path / "model"))
    check_model_files(directory)
    breaks, expected = BROKEN[kind]
    breaks(directory)
    with pytest.raises(ConfigError, match=rf"^given: .*{expected}"):
        check_model_files(directory, "given")


def first(values: dict[str, Any], name: str) -> None:
    values["weight_map"] = dict.fromkeys(values["weight_map"], name)


BROKEN_INDEX: dict[str, tuple[Callable[[Path], object], str]] = {
    "outside": (lambda d: change_json(d / INDEX, lambda v: first(v, "../elsewhere/w.safetensors")), "names ../elsewh"),
    "absolute": (lambda d: change_json(d / INDEX, lambda v: first(v, "/tmp/w.safetensors")), "names /tmp/w"),
    "subfolder": (lambda d: change_json(d / INDEX, lambda v: first(v, "part/w.safetensors")), "names part/w"),
    "pickle": (lambda d: change_json(d / INDEX, lambda v: first(v, "w.bin")), "names w.bin, which is no .safetensors"),
    "missing file": (lambda d: next(d.glob("model-00002*")).unlink(), "names model-00002.* which is not there"),
    "tensor elsewhere": (lambda d: change_json(d / INDEX, lambda v: v["weight_map"].popitem()), "and not in the index"),
    "surplus name": (
        lambda d: change_json(d / INDEX, lambda v: v["weight_map"].update(x=next(iter(v["weight_map"].values())))),
        "differ: x of model-.* is not in that file",
    ),
    "no index": (text(INDEX, '{"weight_map": []}'), "is no index of weights"),
    "pointer": (text(INDEX, POINTER), "Git LFS pointer"),
}


@pytest.mark.parametrize("kind", BROKEN_INDEX)
def test_a_broken_index_is_refused(kind: str, sharded: Path, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(sharded, tmp_path / "model"))
    check_model_files(directory)
    breaks, expected = BROKEN_INDEX[kind]
    breaks(directory)
    with pytest.raises(ConfigError, match=expected):
        check_model_files(directory)


def test_links_are_followed_and_the_digest_covers_their_content(sharded: Path, tmp_path: Path) -> None:
    """The cache of the Hub has links to files that are named by their hash."""
    directory = Path(shutil.copytree(sharded, tmp_path / "models--a--b" / "snapshots" / "12ab"))
    before, blobs = weights_digest(directory), tmp_path / "models--a--b" / "blobs"
    blobs.mkdir()
    for number, file in enumerate(sorted(directory.iterdir())):
        shutil.move(file, blobs / str(number))
        file.symlink_to(f"../../blobs/{number}")
    check_model_files(directory)
    assert weights_digest(directory) == before
    weight = directory / weight_files(directory)[0]
    tensors = load_file(weight)
    save_file({name: values + 1 for name, values in tensors.items()}, weight.resolve(), {"format": "pt"})
    assert weights_digest(directory) != before


def test_a_tokenizer_of_the_authors_machine_is_harmless(sound: Path, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(sound, tmp_path / "model"))
    for name in ("/home/author/tokenizer.json", "tokenizer.json", "x" * 5000):
        tokenizer_file(directory, name)
        check_model_files(directory)


def test_what_only_training_cannot_use_may_be_read(sound: Path, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(sound, tmp_path / "model"))
    config(quantization_config={"quant_method": "fp8"})(directory)
    check_model_files(directory, trained=False)


def test_masks_and_positions_are_no_packed_weights(sound: Path, tmp_path: Path) -> None:
    """Buffers that old models were published with, which transformers ignores."""
    directory = Path(shutil.copytree(sound, tmp_path / "model"))
    mask, positions = torch.ones(1, 1, 4, 4, dtype=torch.uint8), torch.arange(4)[None]
    change_weights(directory, lambda w: w.update({"h.0.attn.bias": mask, "embeddings.position_ids": positions}))
    check_model_files(directory)
