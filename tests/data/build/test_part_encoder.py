"""A document that is too long, or that the tokenizer does not know, is refused with its file and number."""

from __future__ import annotations

from pathlib import Path

import pytest

from lrps.base.errors import DataError
from lrps.data.build.encode import Encoder
from lrps.data.build.part_encoder import Document, PartEncoder, TextLimits
from lrps.data.tokenizer import read_tokenizer
from support.tokenizers import family_file


def part_encoder(tmp_path: Path, **limits: float) -> PartEncoder:
    file = read_tokenizer(family_file(tmp_path / "t.json", "WordLevel"))
    return PartEncoder(Encoder(file, file.vocabulary["</s>"]), file.unknown, TextLimits(**limits))  # type: ignore[arg-type]


def documents(*texts: str) -> list[Document]:
    return [Document("a.jsonl", number, text) for number, text in enumerate(texts, 1)]


def test_the_longest_document(tmp_path: Path) -> None:
    part = part_encoder(tmp_path, longest=12)
    assert len(part.encode(documents("x" * 12, "漢字漢字"))) == 2
    for text in ("x" * 13, "漢字漢字x"):
        with pytest.raises(DataError, match=r"a\.jsonl, document 2: 13 B of text.*longest_document allows \(12 B\)"):
            part.encode(documents("x", text))


def test_unk_tokens_are_limited_in_the_whole_part(tmp_path: Path) -> None:
    part = part_encoder(tmp_path, unknown=0.25)
    part.encode(documents("the quick"))
    part.encode(documents("what is the", "the"))  # 2 of 9 tokens, with the EOS tokens
    part.finish()
    part.encode(documents("who knows"))  # 4 of 12
    with pytest.raises(DataError, match=r"a\.jsonl, document 1: 2 of its 4 tokens .* 33\.33%.* data\.unknown_share"):
        part.finish()


def test_text_that_the_tokenizer_refuses(tmp_path: Path) -> None:
    contents = (
        family_file(tmp_path / "t.json", "WordLevel").read_text().replace('"unk_token": "<unk>"', '"unk_token": "?"')
    )
    (tmp_path / "t.json").write_text(contents)
    file = read_tokenizer(tmp_path / "t.json")
    part = PartEncoder(Encoder(file, file.vocabulary["</s>"]), file.unknown, TextLimits())
    with pytest.raises(DataError, match=r"a\.jsonl, document 2: the tokenizer cannot encode it \(WordLevel error"):
        part.encode(documents("the", "unheard-of"))
