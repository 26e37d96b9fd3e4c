"""A part file is complete or not there, and never read when it is damaged."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.base.errors import DataError
from lrps.data.build import part_file
from lrps.data.build.part_file import PartWriter, is_complete_part, read_part, read_tally
from lrps.data.build.tally import Tally

DOCUMENTS = np.array([[3, 10], [2, 7]], np.int64)


def write(path: Path, batches: int = 3) -> bytes:
    with PartWriter(path) as writer:
        for number in range(batches):
            writer.add("train", np.arange(5, dtype=np.uint16) + 5 * number, DOCUMENTS)
        writer.add("heldout", np.arange(5, dtype=np.uint16), DOCUMENTS)
        writer.tally.empty = 4
        writer.tally.add_bad("broken-json", "a.jsonl, line 3: not JSON")
        writer.close()
    return path.read_bytes()


@pytest.mark.parametrize("chunk_tokens", [1, 12, 2**22])
def test_what_is_added_is_read_in_order(chunk_tokens, tmp_path, monkeypatch):
    monkeypatch.setattr(part_file, "CHUNK_TOKENS", chunk_tokens)
    path = tmp_path / "folder" / "part.npz"
    write(path)
    chunks = list(read_part(path))
    train = [(tokens, documents) for split, tokens, documents in chunks if split == "train"]
    assert np.concatenate([tokens for tokens, _ in train]).tolist() == list(range(15))
    assert np.concatenate([documents for _, documents in train]).tolist() == DOCUMENTS.tolist() * 3
    ((tokens, documents),) = [(t, d) for split, t, d in chunks if split == "heldout"]
    assert (tokens.dtype, tokens.tolist(), documents.tolist()) == (np.uint16, [0, 1, 2, 3, 4], DOCUMENTS.tolist())
    counted = Tally(
        documents=Counter(train=6, heldout=2),
        tokens=Counter(train=15, heldout=5),
        text_bytes=68,
        empty=4,
        bad=Counter({"broken-json": 1}),
    )
    counted.first_bad = ["a.jsonl, line 3: not JSON"]
    assert read_tally(path) == counted
    assert is_complete_part(path)
    assert list(path.parent.iterdir()) == [path]


def test_without_close_there_is_nothing(tmp_path):
    with PartWriter(tmp_path / "part.npz") as writer:
        writer.add("train", np.arange(5, dtype=np.uint16), DOCUMENTS)
        assert not is_complete_part(tmp_path / "part.npz")
    assert list(tmp_path.iterdir()) == []


def test_a_part_of_no_documents_is_complete(tmp_path):
    with PartWriter(tmp_path / "part.npz") as writer:
        writer.close()
    assert is_complete_part(tmp_path / "part.npz")
    assert list(read_part(tmp_path / "part.npz")) == []


@given(st.data())
def test_a_part_that_was_cut_off_is_not_complete(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("part") / "part.npz"
    whole = write(path)
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    assert not is_complete_part(path)


def test_a_flipped_bit_is_found_and_the_part_removed(tmp_path):
    path = tmp_path / "part.npz"
    whole = write(path)
    first, last = whole.index(b"\x93NUMPY"), whole.rindex(b"\x93NUMPY")
    for position in (*range(first, first + 138), *range(last, last + 270)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 4]) + whole[position + 1 :])
        with pytest.raises(DataError, match=r"part\.npz was damaged .* has been removed"):
            _ = list(read_part(path)), read_tally(path)
        assert not path.exists()
