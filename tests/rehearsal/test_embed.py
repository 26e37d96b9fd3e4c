"""Embeddings: the mean of the last hidden states, whatever stands in the batch beside a text."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from lrps.base.errors import ConfigError
from lrps.rehearsal.embed import embed


def test_texts_are_the_means_of_their_tokens(base_model: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    texts = ["path switching", "a", "rates " * 30, ""]
    told: list[int] = []
    points = embed(base_model, texts, 2, told.append)
    assert points.shape == (4, 16)
    assert told == [2, 2]
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, rtol=1e-6)
    model, tokenizer = AutoModel.from_pretrained(base_model), AutoTokenizer.from_pretrained(base_model)
    for text, point in zip(texts[:3], points, strict=False):
        ids = tokenizer(text)["input_ids"][:62]  # Of 64 positions.
        with torch.no_grad():
            mean = model(torch.tensor([ids])).last_hidden_state[0].mean(0).numpy()
        np.testing.assert_allclose(point, mean / np.linalg.norm(mean), atol=1e-5)


def test_batches_change_nothing_but_rounding(base_model: Path) -> None:
    texts = [f"text {'x' * k}" for k in range(9)]
    one, all_at_once = (embed(base_model, texts, size, lambda _: None) for size in (1, 9))
    np.testing.assert_allclose(one, all_at_once, atol=1e-5)


def test_a_directory_without_an_encoder_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no config.json"):
        embed(tmp_path, ["a"], 1, lambda _: None)


def test_weights_that_are_missing_are_told_and_a_head_too_many_is_not(
    base_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    embed(base_model, ["a"], 1, lambda _: None)
    # Libraries that other tests have started may log in threads of their own.
    assert not [record for record in caplog.records if record.name.split(".")[0] in ("lrps", "transformers")]
    cut = tmp_path / "cut"
    shutil.copytree(base_model, cut)
    weights = load_file(cut / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if not name.endswith("final_layernorm.bias")}
    assert len(kept) == len(weights) - 1
    save_file(kept, cut / "model.safetensors", {"format": "pt"})
    with pytest.raises(ConfigError, match=r"cut lacks weights: final_layernorm.bias; give a whole encoder"):
        embed(cut, ["a"], 1, lambda _: None)
