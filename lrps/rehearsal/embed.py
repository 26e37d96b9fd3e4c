"""Embeddings of texts: last hidden states of an encoder or language model, averaged over the tokens, normalized."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lrps.base.errors import ConfigError
from lrps.rehearsal.generator import default_device
from lrps.store.model_files import check_model_files

LONGEST = 512
"""Maximal number of tokens of a text that are embedded; the model's positions if they are fewer."""


def embed(directory: Path, texts: Sequence[str], batch_size: int, progress: Callable[[int], None]) -> np.ndarray:
    """Return the embeddings of the texts, (texts, hidden size) in float32.

    Texts of similar lengths share a batch. progress: called with the number of texts since the last call. Raises
    ConfigError for a directory without a model.
    """
    device = torch.device(default_device())
    model, tokenizer = _load(directory, device)
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None) or LONGEST
    longest = min(LONGEST, max(1, positions - 2))  # XLM-R and similar models reserve two positions.
    ids = [tokenizer(text, truncation=True, max_length=longest)["input_ids"] or [0] for text in texts]
    order = sorted(range(len(ids)), key=lambda number: (len(ids[number]), number))
    points = np.zeros((len(ids), model.config.get_text_config().hidden_size), np.float32)
    for start in range(0, len(order), batch_size):
        numbers = order[start : start + batch_size]
        points[numbers] = _mean_pooled(model, [ids[number] for number in numbers], device)
        progress(len(numbers))
    return points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)


def _mean_pooled(model: Any, batch: Sequence[Sequence[int]], device: torch.device) -> np.ndarray:
    width = max(map(len, batch))
    tokens = torch.tensor([[*ids, *[0] * (width - len(ids))] for ids in batch], device=device)
    mask = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids in batch], device=device)
    with torch.inference_mode():
        states = model(input_ids=tokens, attention_mask=mask).last_hidden_state.float()
    weights = mask[:, :, None].float()
    pooled: np.ndarray = ((states * weights).sum(1) / weights.sum(1)).cpu().numpy()
    return pooled


def _load(directory: Path, device: torch.device) -> tuple[Any, Any]:
    from transformers import AutoModel, AutoTokenizer, logging

    check_model_files(directory, "the embedding of the rehearsal", trained=False)
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # Otherwise it warns of the unused weights of the language model's head.
    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
        model, found = AutoModel.from_pretrained(
            directory,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32 if device.type == "cpu" else "auto",
            output_loading_info=True,
        )
    except Exception as error:
        raise ConfigError(f"{directory} cannot be loaded for embeddings: {error}; give a local encoder") from error
    finally:
        logging.set_verbosity(verbosity)
    # Missing weights were initialized at random. Those of the pooler do not affect the hidden states.
    if absent := sorted(key for key in found["missing_keys"] if not key.startswith("pooler.")):
        raise ConfigError(f"{directory} lacks weights: {', '.join(absent[:5])}; give a whole encoder")
    return model.to(device).eval(), tokenizer
