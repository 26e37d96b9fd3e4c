"""What is no directory of a Hugging Face model is named, with the way to get one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lrps.base.errors import ConfigError
from lrps.config.model_directory import read_model_config


def refusal(directory: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read_model_config(directory)
    return str(caught.value)


def test_the_values_are_returned(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama", "vocab_size": 9}')
    assert read_model_config(tmp_path) == {"model_type": "llama", "vocab_size": 9}


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("HuggingFaceTB/SmolLM2-135M", "`hf download HuggingFaceTB/SmolLM2-135M --local-dir SmolLM2-135M`"),
        ("hf://HuggingFaceTB/SmolLM2-135M", "`hf download HuggingFaceTB/SmolLM2-135M --local-dir SmolLM2-135M`"),
        ("https://huggingface.co/Qwen/Qwen3-0.6B", "`hf download Qwen/Qwen3-0.6B --local-dir Qwen3-0.6B`"),
        ("gpt2", "`hf download gpt2 --local-dir gpt2`"),
    ],
)
def test_a_name_of_the_hub_gets_the_command_that_downloads_it(
    name: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command in refusal(Path(name))
    assert f"{tmp_path}/" in refusal(Path(name)), "the place where it was looked for"


def test_the_command_exists() -> None:
    command = (sys.executable, "-m", "huggingface_hub.cli.hf", "download", "--help")
    shown = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "NO_COLOR": "1"})
    assert "--local-dir" in shown.stdout


def test_a_path_that_is_no_name_of_the_hub_gets_no_command(tmp_path: Path) -> None:
    assert "hf download" not in refusal(tmp_path / "absent")


def test_a_directory_without_a_config(tmp_path: Path) -> None:
    assert "give the local directory of a Hugging Face model" in refusal(tmp_path)
    (tmp_path / "weights").write_bytes(b"")
    assert "is a file" in refusal(tmp_path / "weights")
    (tmp_path / "manifest.json").write_text("{}")
    assert "`lrps export`" in refusal(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    assert "merge_and_unload" in refusal(tmp_path)


def test_the_folder_that_was_meant_is_named(tmp_path: Path) -> None:
    snapshot = tmp_path / "snapshots" / "93efa2f"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    assert f"did you mean {snapshot}?" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 26\n", "`git lfs pull`"),
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ("{}", "names no model_type"),
        (json.dumps({"model_type": 3}), "names no model_type"),
    ],
)
def test_a_config_that_is_none(text: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    assert expected in refusal(tmp_path)
