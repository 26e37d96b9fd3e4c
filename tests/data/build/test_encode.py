"""Every document ends with the only EOS token in it, and a long one has the tokens of the whole text."""

from __future__ import annotations

import json
import random
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from lrps.base.errors import DataError
from lrps.data.build import encode
from lrps.data.build.encode import Encoder, UnencodableTextError, check_encodes_all
from lrps.data.tokenizer import TokenizerFile, read_tokenizer
from support.tokenizers import FAMILIES, SENTENCES, family_file

MARK = "</s>"
LOSSLESS = {"byte BPE", "BPE with byte fallback"}
PLAIN = [*SENTENCES, "two  blanks,\n\n lines ", "漢字 é ú", "🙂", "a" * 300]
SPELLED = [MARK, f" {MARK} ", f"a{MARK}b", f"<b>the{MARK}</b>", f"{MARK}{MARK} one", f"one {MARK}", f"x\n{MARK}\n"]


def ids(file: TokenizerFile, text: str) -> list[int]:
    """The tokens of the library itself, to which marked special tokens in text are text."""
    library = file.library()
    library.encode_special_tokens = True
    return list(library.encode(text, add_special_tokens=False).ids)


@pytest.mark.parametrize(("special", "in_model"), list(product([True, False], repeat=2)))
@pytest.mark.parametrize("family", FAMILIES)
def test_the_eos_token_ends_documents_and_nothing_else(
    family: str, special: bool, in_model: bool, tmp_path: Path
) -> None:
    file = read_tokenizer(family_file(tmp_path / "t.json", family, special=special, in_model=in_model))
    end = file.vocabulary[MARK]
    encoded = Encoder(file, end).encode([*PLAIN, *SPELLED])
    for text, tokens in zip([*PLAIN, *SPELLED], encoded, strict=True):
        assert np.flatnonzero(tokens == end).tolist() == [len(tokens) - 1], text
        if text in PLAIN:
            assert tokens[:-1].tolist() == ids(file, text)
        if family in LOSSLESS:
            assert file.library().decode(tokens[:-1].tolist(), skip_special_tokens=False) == text


@pytest.mark.parametrize("family", FAMILIES)
def test_the_bos_token_begins_documents_once(family: str, tmp_path: Path) -> None:
    file = read_tokenizer(family_file(tmp_path / "t.json", family))
    begin = file.vocabulary["<s>"]
    for tokens in Encoder(file, file.vocabulary[MARK], begin).encode(["one <s> two", "<s>", "the fox"]):
        assert np.flatnonzero(tokens == begin).tolist() == [0]


def test_merges_that_make_the_mark(tmp_path: Path) -> None:
    """A BPE whose merges spell the mark has no merge for it in memory, and a longer token of it is not made either."""
    letters = ["<", "/", "s", ">", "a"]
    merges = [["<", "/"], ["</", "s"], ["</s", ">"], ["</s>", "a"]]
    vocabulary = {name: number for number, name in enumerate([*letters, *map("".join, merges), "<unk>"])}
    model = {"type": "BPE", "vocab": vocabulary, "merges": merges, "unk_token": "<unk>"}
    for spelled in (merges, [" ".join(pair) for pair in merges]):
        (tmp_path / "t.json").write_text(json.dumps({"version": "1.0", "model": {**model, "merges": spelled}}))
        file = read_tokenizer(tmp_path / "t.json")
        (tokens,) = Encoder(file, vocabulary[MARK]).encode([f"a{MARK}a"])
        assert [file.spelling(token) for token in tokens] == ["a", "</s", ">", "a", MARK]


def test_an_eos_token_that_text_needs_is_refused(tmp_path: Path) -> None:
    file = read_tokenizer(family_file(tmp_path / "t.json", "WordLevel"))
    with pytest.raises(UnencodableTextError, match="gives the token <unk>, which marks documents") as error:
        Encoder(file, file.vocabulary["<unk>"]).encode(["the", "unheard-of"])
    assert error.value.number == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_all_text_can_be_encoded(family: str, tmp_path: Path) -> None:
    file = read_tokenizer(family_file(tmp_path / "t.json", family))
    check_encodes_all(Encoder(file, file.vocabulary[MARK]), file)


@pytest.mark.parametrize("family", ["BPE", "Unigram", "WordPiece", "WordLevel", "byte BPE"])
def test_a_tokenizer_that_loses_text_is_refused(family: str, tmp_path: Path) -> None:
    contents = json.loads(family_file(tmp_path / "t.json", family).read_text())
    model = contents["model"]
    if family == "byte BPE":
        del model["vocab"]["¡"], model["vocab"]["Ģ"]  # bytes A1 and 80
    elif family == "WordPiece":
        model["unk_token"] = "<none>"
    else:
        model |= {"unk_id": None} if family == "Unigram" else {"unk_token": None if family == "BPE" else "<none>"}
    (tmp_path / "t.json").write_text(json.dumps(contents))
    file = read_tokenizer(tmp_path / "t.json")
    encoder = Encoder(file, file.vocabulary[MARK])
    with pytest.raises(DataError, match=r"t\.json: the tokenizer cannot encode all text: .* an unk_token"):
        check_encodes_all(encoder, file)
    if family not in ("BPE", "byte BPE"):  # These lose text without an error.
        with pytest.raises(UnencodableTextError, match="the tokenizer cannot encode it") as error:
            encoder.encode(["the", "漢"])
        assert error.value.number == 1


def test_the_trial_has_every_byte_of_utf_8() -> None:
    found = set("".join(encode._trial_characters()).encode())
    assert found == {*range(0xC0), *range(0xC2, 0xF5)}, "C0, C1 and F5 to FF never occur"


def varied_text(seed: int, length: int) -> str:
    """Words, numbers, lines, code, long runs and other scripts, in any order."""
    rng = random.Random(seed)
    words = " ".join(SENTENCES).split(" ")
    pieces: list[str] = []
    while sum(map(len, pieces)) < length:
        kind = rng.randrange(8)
        if kind < 4:
            pieces.append(
                " ".join(rng.choices(words, k=rng.randrange(1, 60))) + rng.choice(" \n\t.,") * rng.randrange(3)
            )
        elif kind == 4:
            pieces.append(rng.choice(["a", "ab ", " ", "\n", "=", "漢"]) * rng.randrange(90))
        elif kind == 5:
            pieces.append("".join(rng.choices("漢字かな 🙂éüñ한국어", k=rng.randrange(90))))
        elif kind == 6:
            pieces.append("".join(rng.choices("0123456789abcdefXYZ+/", k=rng.randrange(90))))
        else:
            pieces.append(f"{MARK} <s> <unk>")
    return "".join(pieces)[:length]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_long_text_has_the_tokens_of_the_whole(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = read_tokenizer(family_file(tmp_path / "t.json", family))
    encoder = Encoder(file, file.vocabulary[MARK])
    texts = [varied_text(seed, 20_000) for seed in range(4)] + ["ab" * 9000, "one two " * 3000, "x\n" * 9000]
    if family in ("WordPiece", "WordLevel"):
        texts = [text for text in texts if text[:4] != "abab"]  # one word, and words are not cut
    whole = encoder.encode(texts)
    for name, value in (("WHOLE", 8000), ("WINDOW", 2000), ("MARGIN", 100)):
        monkeypatch.setattr(encode, f"{name}_CHARACTERS", value)
    windows = []
    monkeypatch.setattr(Encoder, "_window", lambda *args, made=Encoder._window: windows.append(args) or made(*args))
    for text, expected, tokens in zip(texts, whole, encoder.encode(texts), strict=True):
        assert np.array_equal(tokens, expected), text[:50]
    assert len(windows) > 10 * len(texts)
    assert max(stop - start for _, _, start, stop, _ in windows) <= 8000


def test_a_text_that_cannot_be_cut_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = read_tokenizer(family_file(tmp_path / "t.json", "WordLevel"))
    for name, value in (("WHOLE", 8000), ("WINDOW", 2000), ("MARGIN", 100)):
        monkeypatch.setattr(encode, f"{name}_CHARACTERS", value)
    encoder = Encoder(file, file.vocabulary[MARK])
    with pytest.raises(
        UnencodableTextError, match="its 20,013 characters must be cut .* after character 0 there is no"
    ):
        encoder.encode(["the quick fox" + "a" * 20_000])
