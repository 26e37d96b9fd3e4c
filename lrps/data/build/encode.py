"""Encoding of documents as tokens: text never gives the EOS or BOS token, and memory does not grow with the text.

The EOS and BOS tokens get spellings in memory that no text contains, so a document that spells them is encoded as any
other text; every document is checked for it. A long text is encoded in overlapping windows, which are joined where two
of them agree. Must not import torch, webdataset or transformers.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from lrps.base.errors import DataError
from lrps.data.build.writer import token_dtype
from lrps.data.tokenizer import TokenizerFile

WHOLE_CHARACTERS = 2**20
"""Length of the longest text that is encoded in one call of the library, which takes about 200 bytes a token."""
WINDOW_CHARACTERS = 2**18
MARGIN_CHARACTERS = 2**11
"""Number of characters on each side of a cut on which two windows must agree, and from there to either window's end."""

_TRIAL_STEP = 61
"""Step between the trial's characters. It is prime to 64, so that every byte of UTF-8 occurs."""


class UnencodableTextError(Exception):
    """A text that cannot be encoded. number: its position among the given ones. The message says why."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(reason)
        self.number = number


class Encoder:
    """An encoder of documents with a tokenizer. end, begin: ids of the EOS and the BOS token, if any.

    Raises DataError if the tokenizer cannot be loaded.
    """

    def __init__(self, file: TokenizerFile, end: int, begin: int | None = None) -> None:
        self._marks = [token for token in (end, begin) if token is not None]
        names = [name for name, token in file.vocabulary.items() if token in self._marks]
        # Noncharacters of Unicode around a hash: no text contains them.
        hidden = {name: f"\ufdd0{file.sha256}-{number}\ufdd0" for number, name in enumerate(names)}
        self._library = file.library(hidden)
        self._library.encode_special_tokens = True
        self._library.post_processor = None  # It adds no tokens to documents, and it may shorten the offsets.
        self._file, self._dtype = file, token_dtype(file.identity(end))
        self._before, self._after = np.array(self._marks[1:], self._dtype), np.array([end], self._dtype)
        self._lost = _lost_bytes(file)

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Return the tokens of each document, with its EOS and BOS token. Raises UnencodableTextError."""
        short = [number for number, text in enumerate(texts) if len(text) <= WHOLE_CHARACTERS]
        found = dict(zip(short, self._batch([texts[number] for number in short], short), strict=True))
        return [
            self._document(found.pop(number) if number in found else self._long(text, number), number)
            for number, text in enumerate(texts)
        ]

    def _document(self, tokens: Sequence[int] | np.ndarray, number: int) -> np.ndarray:
        for mark in self._marks:
            if mark in tokens:
                raise UnencodableTextError(
                    number, f"its text gives the token {self._file.spelling(mark)}, which marks documents"
                )
        return np.concatenate([self._before, np.asarray(tokens, self._dtype), self._after])

    def _batch(self, texts: list[str], numbers: Sequence[int]) -> list[list[int]]:
        try:
            return [encoding.ids for encoding in self._library.encode_batch_fast(texts, add_special_tokens=False)]
        except Exception:  # the library raises bare Exceptions, without the number of the text
            for number, text in zip(numbers, texts, strict=True):
                self._window(text, 0, len(text), number)
            raise

    def tokens_after(self, text: str, start: int) -> int:
        """Return the number of tokens of a document from a character on, with its EOS token.

        A token that begins before the character and ends after it counts, such as a blank and the word after it.
        """
        offsets = self._library.encode(text, add_special_tokens=False).offsets
        return sum(end > start for _, end in offsets) + len(self._after)

    def lost_bytes(self, text: str) -> int:
        """Return the number of bytes of a text that the tokenizer drops: a byte-level BPE may lack some rare ones."""
        if not self._lost:
            return 0
        data = text.encode()
        return len(data) - len(data.translate(None, self._lost))

    def unencodable_characters(self) -> str:
        """Return the characters of many scripts that the tokenizer drops or refuses; empty if it encodes all text."""
        return "".join(character for character in _trial_characters() if not self._encodes(character))

    def _encodes(self, character: str) -> bool:
        normalizer, pre_tokenizer = self._library.normalizer, self._library.pre_tokenizer
        text = character if normalizer is None else normalizer.normalize_str(character)
        pieces = [text] if pre_tokenizer is None else [piece for piece, _ in pre_tokenizer.pre_tokenize_str(text)]
        return all(self._covers(piece) for piece in pieces if piece)

    def _covers(self, piece: str) -> bool:
        """Return whether the model gives tokens for a whole piece: BPE without unk drops unknown characters."""
        try:
            tokens = self._library.model.tokenize(piece)
        except Exception:  # the library raises bare Exceptions
            return False
        return bool(tokens) and tokens[-1].offsets[1] == len(piece.encode())

    def _window(self, text: str, start: int, stop: int, number: int) -> _Window:
        try:
            encoding = self._library.encode(text[start:stop], add_special_tokens=False)
        except Exception as error:
            raise UnencodableTextError(number, f"the tokenizer cannot encode it ({error})") from None
        offsets = np.array(encoding.offsets, np.int64).reshape(-1, 2) + start
        return _Window(start, stop, np.array(encoding.ids, self._dtype), offsets)

    def _long(self, text: str, number: int) -> np.ndarray:
        """Return the tokens of a long text, those that the whole text would give."""
        pieces = []
        done, window = 0, self._window(text, 0, WINDOW_CHARACTERS, number)
        first = 0  # the window's first token that is not in `pieces`
        while window.stop < len(text):
            joint = next(self._joints(text, window, first, done, number), None)
            if joint is None:
                raise UnencodableTextError(
                    number,
                    f"its {len(text):,} characters must be cut to be encoded, and after character {done:,} there is no "
                    "place where that would not change the tokens, such as the beginning of a line or a word: cut it "
                    "into shorter documents",
                )
            pieces.append(joint.window.tokens[first : joint.last])
            done, window, first = joint.position, joint.following, joint.first
        return np.concatenate([*pieces, window.tokens[first:]])

    def _joints(self, text: str, window: _Window, first: int, done: int, number: int) -> Iterator[_Joint]:
        """Yield the places after `done` where the text can be cut, near the ends of windows of several sizes.

        first: number of the window's tokens before `done`, which must be the same in all windows.
        """
        for stop in _stops(window, len(text)):
            if stop - 4 * MARGIN_CHARACTERS <= max(done, window.start):
                continue
            resized = window if stop == window.stop else self._window(text, window.start, stop, number)
            if not np.array_equal(resized.tokens[:first], window.tokens[:first]):
                continue
            if stop == len(text):
                yield _Joint(done, resized, first, resized, first)
            for start in _starts(text, resized):
                following = self._window(text, start, min(start + WINDOW_CHARACTERS, len(text)), number)
                if (joint := _joint(resized, following)) is not None and joint.position > done:
                    yield joint


class _Window(NamedTuple):
    """The tokens of text[start:stop], and the [begin, end) of each token as positions in the whole text."""

    start: int
    stop: int
    tokens: np.ndarray
    offsets: np.ndarray


class _Joint(NamedTuple):
    """A place where a text is cut: the tokens of `window` before `last`, then those of `following` from `first` on."""

    position: int
    window: _Window
    last: int
    following: _Window
    first: int


def _stops(window: _Window, end: int) -> Iterator[int]:
    """Yield ends for a window, its own first. Longer windows reach beyond a part of the text that has no place."""
    yield window.stop
    for size in (WINDOW_CHARACTERS // 2, WINDOW_CHARACTERS * 2, WHOLE_CHARACTERS):
        yield min(window.start + size, end)


def _starts(text: str, window: _Window) -> Iterator[int]:
    """Yield places where a following window may begin: the last line, word and token before the overlap of both.

    They are beginnings of tokens too, so that both windows divide a text that repeats itself in the same way.
    """
    last = window.stop - 4 * MARGIN_CHARACTERS
    begins = window.offsets[:, 0]
    begins = begins[(begins > window.start) & (begins <= last)]
    places = (lambda at: text[at - 1] == "\n", lambda at: text[at].isspace() or text[at - 1].isspace(), bool)
    for limit in (last, last - 8 * MARGIN_CHARACTERS):
        near = begins[: np.searchsorted(begins, limit, "right")][: -MARGIN_CHARACTERS - 1 : -1].tolist()
        yield from filter(None, (next(filter(is_place, near), None) for is_place in places))


def _joint(window: _Window, following: _Window) -> _Joint | None:
    """Return where two overlapping windows can be joined; None if their tokens differ around that place."""
    low, high = window.stop - 3 * MARGIN_CHARACTERS, window.stop - MARGIN_CHARACTERS
    if following.stop < window.stop:
        high = min(high, following.stop - MARGIN_CHARACTERS)
    (one, other) = (slice(*np.searchsorted(each.offsets[:, 0], (low, high))) for each in (window, following))
    same = np.array_equal(window.tokens[one], following.tokens[other])
    if not (same and np.array_equal(window.offsets[one], following.offsets[other])):
        return None
    for last in range(int(np.searchsorted(window.offsets[:, 0], (low + high) // 2)), one.stop):
        position = int(window.offsets[last, 0])
        first = other.start + last - one.start
        if max(window.offsets[:last, 1].max(initial=0), following.offsets[:first, 1].max(initial=0)) <= position:
            return _Joint(position, window, last, following, first)
    return None


def _lost_bytes(file: TokenizerFile) -> bytes:
    """Return the bytes that a byte-level BPE has no token for and drops."""
    model, rest = file.contents["model"], [file.contents.get(key) for key in ("normalizer", "pre_tokenizer")]
    if file.unknown is not None or model.get("byte_fallback") or '"ByteLevel"' not in json.dumps(rest):
        return b""
    return bytes(byte for byte, name in enumerate(_byte_names()) if name not in file.vocabulary)


def _byte_names() -> list[str]:
    """Return the characters that stand for the bytes in byte-level vocabularies: visible ones stand for themselves."""
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = itertools.count(0x100)
    return [chr(byte if byte in visible else next(others)) for byte in range(256)]


def _trial_characters() -> Iterator[str]:
    """Yield characters of many scripts; together their UTF-8 has every byte that can occur."""
    steps = (range(0x80), range(0x80, 0xD800, _TRIAL_STEP), range(0xE000, 0x110000, _TRIAL_STEP * 17))
    return (chr(point) for points in steps for point in points)


def check_encodes_all(encoder: Encoder, file: TokenizerFile) -> None:
    """Raise DataError if the tokenizer drops or refuses letters or digits: none with an unk token or all bytes does.

    Published byte-level tokenizers lack bytes of control characters and of unused planes, which `lost_bytes` counts.
    """
    if lost := [character for character in encoder.unencodable_characters() if character.isalnum()]:
        shown = ", ".join(map(repr, lost[:5]))
        raise DataError(
            f"{file.path}: the tokenizer cannot encode all text: {len(lost):,} of the characters that were tried are "
            f"lost or refused, such as {shown}. It has no token for unknown text and not all "
            "bytes: use a tokenizer of bytes or with byte fallback, or give its model an unk_token."
        )
