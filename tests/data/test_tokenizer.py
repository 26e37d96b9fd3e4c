from __future__ import annotations

import hashlib
import json

import pytest
from tokenizers import Tokenizer, models

from lrps.base.errors import ConfigError, DataError
from lrps.data.tokenizer import read_tokenizer, train_tokenizer
from support.tokenizers import FAMILIES, family_file, load_tokenizer

TEXTS = [f"def f{n}(x):\n    return x + {n}  # grüße 東京\n" for n in range(200)]


def test_any_text_comes_back(tmp_path):
    train_tokenizer(TEXTS, 400, tmp_path / "tokenizer.json")
    tokenizer, _ = load_tokenizer(tmp_path / "tokenizer.json")
    for text in (TEXTS[3], "never seen: \x00\t🦜 Ω\r\n", " leading and trailing "):
        assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_training_is_deterministic_and_names_the_file_it_made(tmp_path):
    first = train_tokenizer(iter(TEXTS), 400, tmp_path / "a" / "tokenizer.json")
    second = train_tokenizer(iter(TEXTS), 400, tmp_path / "b" / "tokenizer.json")
    assert first == second == load_tokenizer(tmp_path / "a" / "tokenizer.json")[1]
    assert first.sha256 == hashlib.sha256((tmp_path / "a" / "tokenizer.json").read_bytes()).hexdigest()
    assert first.vocabulary == 400
    assert train_tokenizer(TEXTS[:100], 400, tmp_path / "c.json").sha256 != first.sha256


def test_the_least_vocabulary_is_plain_bytes(tmp_path):
    identity = train_tokenizer(TEXTS, 257, tmp_path / "bytes.json")
    tokenizer, _ = load_tokenizer(tmp_path / "bytes.json")
    assert identity.vocabulary == 257
    assert len(tokenizer.encode("grüße 東").ids) == len("grüße 東".encode())


def test_a_vocabulary_below_the_bytes_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="use 257 or more"):
        train_tokenizer(TEXTS, 256, tmp_path / "tokenizer.json")
    assert not (tmp_path / "tokenizer.json").exists()


def saved(path, *special_tokens):
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    tokenizer.add_special_tokens(list(special_tokens))
    tokenizer.save(str(path))
    return path


@pytest.mark.parametrize(("special", "eos"), [(["</s>"], "</s>"), (["<pad>", "<eos>"], "<eos>")])
def test_the_end_mark_is_found_by_its_usual_names(special, eos, tmp_path):
    tokenizer, identity = load_tokenizer(saved(tmp_path / "llama.json", *special))
    assert identity.eos == tokenizer.token_to_id(eos)
    assert (identity.name, identity.vocabulary) == ("llama", 2 + len(special))


def test_what_is_no_tokenizer_is_refused_with_its_file(tmp_path):
    with pytest.raises(DataError, match=r"bare\.json: the tokenizer has no EOS token"):
        load_tokenizer(saved(tmp_path / "bare.json"))
    with pytest.raises(DataError, match=r"none\.json: cannot read"):
        load_tokenizer(tmp_path / "none.json")
    (tmp_path / "other.json").write_text('{"a": 1}')
    with pytest.raises(DataError, match=r"other\.json: not a tokenizer"):
        load_tokenizer(tmp_path / "other.json")


SETTINGS = {
    "truncation": {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0},
    "padding": {
        "strategy": {"Fixed": 29},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "<unk>",
    },
}


@pytest.mark.parametrize("name", ["truncation", "padding", "dropout"])
def test_settings_that_change_the_tokens_are_switched_off(name, tmp_path):
    """The library keeps 2 tokens, pads to 29 or draws lots; the file and so its hash stay as they are."""
    plain = read_tokenizer(family_file(tmp_path / "plain.json", "byte BPE"))
    contents = dict(plain.contents)
    if name == "dropout":
        contents["model"] = {**contents["model"], "dropout": 0.5}
    (tmp_path / "t.json").write_text(json.dumps(contents | {key: SETTINGS[key] for key in SETTINGS if key == name}))
    file = read_tokenizer(tmp_path / "t.json")
    assert (file.ignored_settings, plain.ignored_settings) == ((name,), ())
    assert file.sha256 == hashlib.sha256((tmp_path / "t.json").read_bytes()).hexdigest() != plain.sha256
    texts, library = ["the quick brown fox", "jumps over"] * 9, Tokenizer.from_file(str(tmp_path / "t.json"))
    expected = [plain.library().encode(text).ids for text in texts]
    assert [file.library().encode(text).ids for text in texts] == expected
    assert [library.encode(text).ids for text in texts] != expected
    assert file.effective == plain.effective


def test_ids_do_not_depend_on_spellings(tmp_path):
    for family in FAMILIES:
        file = read_tokenizer(family_file(tmp_path / "t.json", family))
        renamed = file.library({"</s>": "other", "<unk>": "unknown"}).get_vocab()
        back = {"other": "</s>", "unknown": "<unk>"}
        assert {back.get(name, name): token for name, token in renamed.items()} == file.vocabulary
        assert file.unknown == (None if family.startswith("byte BPE") else file.vocabulary["<unk>"])
