"""Tokenizer files for tests: loading one of them, and small ones of every family of the library."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from lrps.data.data_tokenizer import open_tokenizer
from lrps.data.manifest import TokenizerIdentity

SENTENCES = [
    "the quick brown fox jumps over the lazy dog",
    "one two three 0123456789 .,;:!?<>/|_-()[]{}'\"#$%&*+=@^~`\\",
    "x = f(y)\n\tz EOS THE FOX éü ABCDEFGHIJKLMNOPQRSTUVWXYZ",
] * 3
SPECIAL = ["<unk>", "<s>"]


def load_tokenizer(path: Path) -> tuple[Tokenizer, TokenizerIdentity]:
    """Return the library's tokenizer of a file, and its identity."""
    found = open_tokenizer(path)
    return found.file.library(), found.identity


def _trained(tokenizer: Tokenizer, trainer: Any) -> Tokenizer:
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return tokenizer


def _bpe_trainer(alphabet: list[str]) -> Any:
    return trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet, min_frequency=2, show_progress=False
    )


def _byte_bpe() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return _trained(tokenizer, _bpe_trainer(sorted(pre_tokenizers.ByteLevel.alphabet())))


def _byte_bpe_with_a_space_before() -> Tokenizer:
    tokenizer = _byte_bpe()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return tokenizer


def _bpe() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return _trained(tokenizer, _bpe_trainer([]))


def _bpe_with_byte_fallback() -> Tokenizer:
    """No pre-tokenizer, as in many converted SentencePiece models: merges cross words."""
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    contents = json.loads(_trained(trained, _bpe_trainer([])).to_str())
    vocabulary = contents["model"]["vocab"]
    contents["model"]["vocab"] = vocabulary | {f"<0x{byte:02X}>": len(vocabulary) + byte for byte in range(256)}
    contents["model"] |= {"byte_fallback": True, "fuse_unk": True}
    tokenizer = Tokenizer.from_str(json.dumps(contents))
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


def _unigram() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=200, special_tokens=SPECIAL, unk_token="<unk>", initial_alphabet=list("</s>"), show_progress=False
    )
    return _trained(tokenizer, trainer)


def _word_piece() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return _trained(tokenizer, trainers.WordPieceTrainer(vocab_size=300, special_tokens=SPECIAL, show_progress=False))


def _word_level() -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return _trained(tokenizer, trainers.WordLevelTrainer(special_tokens=SPECIAL, show_progress=False))


FAMILIES: dict[str, Callable[[], Tokenizer]] = {
    "byte BPE": _byte_bpe,
    "byte BPE with a space before": _byte_bpe_with_a_space_before,
    "BPE": _bpe,
    "BPE with byte fallback": _bpe_with_byte_fallback,
    "Unigram": _unigram,
    "WordPiece": _word_piece,
    "WordLevel": _word_level,
}


def family_file(
    path: Path, family: str, mark: str = "</s>", *, special: bool = True, in_model: bool = True, **changes: Any
) -> Path:
    """Save a small tokenizer of a family with one more token, an EOS token.

    special: whether the token is marked so. in_model: whether the model's vocabulary has it too. changes: to the file.
    """
    contents = json.loads(FAMILIES[family]().to_str())
    vocabulary = contents["model"]["vocab"]
    number = len(vocabulary)
    if in_model:
        contents["model"]["vocab"] = (
            vocabulary | {mark: number} if isinstance(vocabulary, dict) else [*vocabulary, [mark, 0.0]]
        )
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
    added = {"id": number, "content": mark, **flags, "normalized": not special, "special": special}
    contents["added_tokens"] = [*contents["added_tokens"], added]
    path.write_text(json.dumps({**contents, **changes}, ensure_ascii=False))
    return path
