from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.data import tokenize
from lrps.data.manifest import Manifest, manifest_path
from lrps.data.tokenize import is_heldout, read_documents, tokenize_version
from lrps.data.tokenizer import END_OF_TEXT, load_tokenizer, train_tokenizer
from lrps.errors import ConfigError, DataError

TEXTS = [f"document {n}: " + "the quick brown fox " * (n % 7) for n in range(300)]


@pytest.fixture
def tokenizer_path(tmp_path) -> Path:
    train_tokenizer(TEXTS, 300, tmp_path / "tokenizer.json")
    return tmp_path / "tokenizer.json"


def jsonl(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text, "source": "test"}) + "\n" for text in texts))
    return path


def texts_of(manifest: Manifest, root: Path, tokenizer_path: Path) -> list[str]:
    """The documents of a split, decoded from its shards."""
    tokenizer, identity = load_tokenizer(tokenizer_path)
    blocks = []
    for shard in manifest.shards:
        data = (root / manifest.version / shard.name).read_bytes()
        blocks += [np.frombuffer(data, manifest.dtype, member.tokens, member.offset) for member in shard.members]
    tokens = np.concatenate(blocks)
    assert tokens[-1] == identity.eos
    documents = np.split(tokens, np.flatnonzero(tokens == identity.eos) + 1)[:-1]
    return [tokenizer.decode(document[:-1].tolist()) for document in documents]


def test_every_document_is_in_one_split_in_order(tmp_path, tokenizer_path):
    inputs = [jsonl(tmp_path / "a.jsonl", TEXTS), tmp_path / "b.txt"]
    inputs[1].write_text("one document\nof two lines\n")
    train, heldout = tokenize_version(inputs, tmp_path, "v1", tokenizer_path, heldout_share=0.2)
    everything = [*TEXTS, inputs[1].read_text()]
    assert texts_of(train, tmp_path, tokenizer_path) == [t for t in everything if not is_heldout(t, 0.2, "lrps")]
    assert texts_of(heldout, tmp_path, tokenizer_path) == [t for t in everything if is_heldout(t, 0.2, "lrps")]
    assert 30 < heldout.documents < 90
    assert train.documents + heldout.documents == 301
    assert train.text_bytes + heldout.text_bytes == sum(len(text.encode()) for text in everything)


def test_small_batches_give_the_same_bytes(tmp_path, tokenizer_path, monkeypatch):
    inputs = [jsonl(tmp_path / "a.jsonl", TEXTS)]
    one = tokenize_version(inputs, tmp_path / "one", "v1", tokenizer_path, heldout_share=0.1)
    monkeypatch.setattr(tokenize, "BATCH_BYTES", 100)
    steps: list[int] = []
    two = tokenize_version(inputs, tmp_path / "two", "v1", tokenizer_path, heldout_share=0.1, progress=steps.append)
    assert [m.sha256 for m in one] == [m.sha256 for m in two]
    assert sum(steps) == sum(len(text) for text in TEXTS)
    assert len(steps) > 50


def test_text_that_spells_the_end_mark_does_not_end_the_document(tmp_path, tokenizer_path):
    text = f'eos = "{END_OF_TEXT}"\n'
    train, _ = tokenize_version(
        [jsonl(tmp_path / "a.jsonl", [text])], tmp_path, "v1", tokenizer_path, heldout_share=0.0
    )
    assert texts_of(train, tmp_path, tokenizer_path) == [text]


def test_empty_documents_are_counted_and_left_out(tmp_path, tokenizer_path):
    inputs = [jsonl(tmp_path / "a.jsonl", ["", "full", " \n"])]
    train, heldout = tokenize_version(inputs, tmp_path, "v1", tokenizer_path, heldout_share=0.0)
    assert train.provenance["empty_documents"] == 2
    assert (train.documents, heldout.documents, heldout.shards) == (1, 0, ())


def test_provenance_names_the_inputs(tmp_path, tokenizer_path):
    path = jsonl(tmp_path / "a.jsonl", TEXTS)
    train, _ = tokenize_version([path], tmp_path, "v1", tokenizer_path, heldout_share=0.1)
    (entry,) = train.provenance["inputs"]
    assert (entry["name"], entry["bytes"], len(entry["sha256"])) == ("a.jsonl", path.stat().st_size, 64)


def test_a_second_build_does_no_work(tmp_path, tokenizer_path, monkeypatch):
    inputs = [jsonl(tmp_path / "a.jsonl", TEXTS)]
    first = tokenize_version(inputs, tmp_path, "v1", tokenizer_path, heldout_share=0.1)
    monkeypatch.setattr(tokenize, "TokenWriter", None)
    assert tokenize_version(inputs, tmp_path, "v1", tokenizer_path, heldout_share=0.1) == first


@pytest.mark.parametrize("lost", ["train", "heldout"])
def test_a_build_that_lost_one_split_makes_that_one_again(lost, tmp_path, tokenizer_path):
    inputs = [jsonl(tmp_path / "a.jsonl", TEXTS)]
    first = tokenize_version(inputs, tmp_path, "v1", tokenizer_path, heldout_share=0.1)
    manifest_path(tmp_path, "v1", lost).unlink()
    assert tokenize_version(inputs, tmp_path, "v1", tokenizer_path, heldout_share=0.1) == first
    assert manifest_path(tmp_path, "v1", lost).exists()


def test_a_version_never_changes(tmp_path, tokenizer_path):
    inputs = [jsonl(tmp_path / "a.jsonl", TEXTS)]
    tokenize_version(inputs, tmp_path, "v1", tokenizer_path, heldout_share=0.1)
    with pytest.raises(DataError, match=r"other heldout_share, and a version never changes"):
        tokenize_version(inputs, tmp_path, "v1", tokenizer_path, heldout_share=0.2)
    jsonl(inputs[0], TEXTS[1:])
    with pytest.raises(DataError, match=r"v1-train.manifest.json was made with other inputs"):
        tokenize_version(inputs, tmp_path, "v1", tokenizer_path, heldout_share=0.1)
    jsonl(inputs[0], TEXTS)
    train_tokenizer(TEXTS, 290, tokenizer_path)
    with pytest.raises(DataError, match="other tokenizer"):
        tokenize_version(inputs, tmp_path, "v1", tokenizer_path, heldout_share=0.1)


@given(st.text(), st.floats(0, 1), st.floats(0, 1), st.text())
def test_what_a_share_holds_out_a_larger_share_holds_out_too(text, one, other, salt):
    small, large = sorted((one, other))
    assert is_heldout(text, large, salt) >= is_heldout(text, small, salt)
    assert not is_heldout(text, 0.0, salt)


def test_about_the_share_is_held_out_and_the_salt_matters():
    texts = [f"text {n}" for n in range(20_000)]
    one, two = ([is_heldout(text, 0.1, salt) for text in texts] for salt in ("a", "b"))
    assert abs(np.mean(one) - 0.1) < 0.01
    assert abs(np.mean(np.logical_and(one, two)) - 0.01) < 0.004


def test_held_out_documents_are_pinned_for_ever():
    assert [n for n in range(60) if is_heldout(f"text {n}", 0.1, "lrps")] == [10, 11, 19, 21, 22, 34, 43, 52]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.jsonl", b'{"text": "x"}\n\nnot json\n', r"a\.jsonl, line 3: not JSON"),
        ("a.jsonl", b'{"text": "x"}\n{"body": "y"}\n', r'a\.jsonl, line 2: has no string under "text"'),
        ("a.jsonl", b'["x"]\n', r'line 1: has no string under "text"'),
        ("a.jsonl", b'{"text": "\\ud800"}\n', "line 1: its text has half a surrogate pair"),
        ("a.jsonl", b'{"text": "\xff"}\n', "line 1: not UTF-8 at byte 10"),
        ("a.txt", b"abc\xff", r"a\.txt: not UTF-8 at byte 3"),
        ("a.csv", b"text", r"a\.csv: cannot read \.csv"),
    ],
)
def test_unreadable_documents_are_refused_with_their_place(name, data, message, tmp_path, tokenizer_path):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=message):
        list(read_documents(tmp_path / name))
    with pytest.raises(DataError, match=message):
        tokenize_version([tmp_path / name], tmp_path, "v1", tokenizer_path, heldout_share=0.0)
    assert not list(tmp_path.glob("v1/*"))


def test_missing_inputs_and_silly_shares_are_refused(tmp_path, tokenizer_path):
    with pytest.raises(DataError, match=r"none\.txt: cannot read this input"):
        tokenize_version([tmp_path / "none.txt"], tmp_path, "v1", tokenizer_path, heldout_share=0.0)
    with pytest.raises(ConfigError, match="held-out share of 1"):
        tokenize_version([], tmp_path, "v1", tokenizer_path, heldout_share=1)
