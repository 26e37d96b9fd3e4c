"""`AutoTokenizer` gives the ids of training, whatever model type the config names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers.processors import TemplateProcessing
from transformers import AutoConfig, AutoTokenizer

from lrps.data.data_tokenizer import open_tokenizer
from lrps.data.tokenizer import TRAINED_EOS, train_tokenizer
from lrps.export.release import write_tokenizer
from support.tokenizers import family_file, load_tokenizer

TEXTS = ["the path , it 's a test .", "  Hello\n\tworld !  é 中 ", ""]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    train_tokenizer(["the path switches at the maximal rate , it 's a test ."] * 30, 290, file)
    return file


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "mistral", "qwen2", "qwen3", "olmo2", "deepseek_v3"])
@pytest.mark.parametrize("adds", [False, True], ids=["plain", "adds a beginning"])
def test_it_encodes_and_decodes_as_training_did(source: Path, tmp_path: Path, model_type: str, adds: bool) -> None:
    ours, identity = load_tokenizer(source)
    if adds:  # As published tokenizers do; shards hold no such token.
        ours.post_processor = TemplateProcessing(
            single=f"{TRAINED_EOS} $A", special_tokens=[(TRAINED_EOS, identity.eos)]
        )
        source = tmp_path / "adds.json"
        ours.save(str(source))
    out = tmp_path / "out"
    AutoConfig.for_model(model_type, vocab_size=290).save_pretrained(out)
    write_tokenizer(open_tokenizer(source), out, row_tokens=64)
    theirs = AutoTokenizer.from_pretrained(out)
    for text in TEXTS:
        ids = ours.encode(text, add_special_tokens=False).ids
        assert theirs(text).input_ids == ids
        assert theirs.decode(ids) == text
    assert (theirs.eos_token_id, theirs.bos_token_id, theirs.model_max_length) == (identity.eos, identity.eos, 64)
    assert len(theirs) == identity.vocabulary, "no token was added"
    same = (out / "tokenizer.json").read_bytes() == source.read_bytes()
    assert same is not adds
    assert json.loads((out / "tokenizer.json").read_text())["model"] == json.loads(source.read_text())["model"]


@pytest.mark.parametrize("adds", [False, True], ids=["plain", "adds a beginning"])
def test_a_bos_token_of_the_data_is_put_before_prompts(adds: bool, tmp_path: Path) -> None:
    path = family_file(tmp_path / "t.json", "byte BPE")
    if adds:
        tokenizer = open_tokenizer(path).file.library()
        special = [("<s>", tokenizer.token_to_id("<s>"))]
        tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=special)
        tokenizer.save(str(path))
    ours = open_tokenizer(path, begin_token="<s>")
    (tmp_path / "out").mkdir()
    write_tokenizer(ours, tmp_path / "out", row_tokens=64)
    theirs = AutoTokenizer.from_pretrained(tmp_path / "out")
    for text in TEXTS:
        assert theirs(text).input_ids == [
            ours.begin_id,
            *ours.file.library().encode(text, add_special_tokens=False).ids,
        ]
    assert (theirs.bos_token, theirs.eos_token) == ("<s>", "</s>")
    assert ((tmp_path / "out" / "tokenizer.json").read_bytes() == path.read_bytes()) is adds


def test_settings_that_cut_text_are_not_released(tmp_path: Path) -> None:
    truncation = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}
    path = family_file(tmp_path / "t.json", "byte BPE", truncation=truncation)
    (tmp_path / "out").mkdir()
    write_tokenizer(open_tokenizer(path), tmp_path / "out", row_tokens=64)
    ids = AutoTokenizer.from_pretrained(tmp_path / "out")(TEXTS[0]).input_ids
    assert ids == open_tokenizer(path).file.library().encode(TEXTS[0]).ids
    assert len(ids) > 2
