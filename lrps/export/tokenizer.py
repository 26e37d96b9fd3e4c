"""The tokenizer of a released model: the files from which `AutoTokenizer` makes one that encodes as training did."""

from __future__ import annotations

import json
from pathlib import Path

from lrps.base.files import atomic_write_bytes, atomic_write_json
from lrps.data.tokenizer import load_tokenizer


def write_tokenizer(source: Path, directory: Path, row_tokens: int) -> None:
    """Write tokenizer.json and tokenizer_config.json. row_tokens: the longest text that training showed the model.

    Shards hold no token that a tokenizer would add to a text by itself, so the released one adds none either.
    """
    tokenizer, identity = load_tokenizer(source)
    data = source.read_bytes()
    if tokenizer.num_special_tokens_to_add(is_pair=False):
        data = json.dumps({**json.loads(data), "post_processor": None}, indent=2, ensure_ascii=False).encode()
    atomic_write_bytes(directory / "tokenizer.json", data)
    end = tokenizer.id_to_token(identity.eos)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": end,
        "eos_token": end,
        "add_bos_token": False,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": row_tokens,
    }
    atomic_write_json(directory / "tokenizer_config.json", settings)
