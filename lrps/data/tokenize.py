"""Text files -> one version: its training and its held-out split, each document ended by the end mark.

Idempotent: a version that was made from the same inputs is returned as it is. Must not import torch or webdataset
(the writer does).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from lrps.data.manifest import SPLITS, Manifest, load_manifest, manifest_path
from lrps.data.tokenizer import load_tokenizer
from lrps.data.writer import TokenWriter
from lrps.errors import ConfigError, DataError

BATCH_BYTES = 2**20
MAKER = "lrps.data.tokenize/1"
"""Takes a new number when the same text would give other tokens."""


def is_heldout(text: str, share: float, salt: str) -> bool:
    """True for about `share` of all texts. Looks at the text only: held out once, held out in every version."""
    digest = hashlib.blake2b(f"{salt}\0{text}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") < share * 2**64


def tokenize_version(
    inputs: Sequence[Path],
    root: Path,
    version: str,
    tokenizer_path: Path,
    *,
    heldout_share: float,
    heldout_salt: str = "lrps",
    progress: Callable[[int], None] | None = None,
) -> tuple[Manifest, Manifest]:
    """Write the splits of `version` under `root` and return their manifests, (train, heldout).

    inputs: `.txt` files of one document each, `.jsonl` files of one {"text": ...} a line. Documents without any
    visible character are left out and counted. progress is called with the number of bytes of text that each batch
    added. DataError if the version exists and was made from anything else.
    """
    if not 0 <= heldout_share < 1:
        raise ConfigError(f"a held-out share of {heldout_share} is not in [0, 1)")
    paths = [Path(path) for path in inputs]
    tokenizer, identity = load_tokenizer(tokenizer_path)
    recipe = {
        "maker": MAKER,
        "inputs": [_fingerprint(path) for path in paths],
        "heldout_share": heldout_share,
        "heldout_salt": heldout_salt,
    }
    found = {split: _built(root, version, split, recipe, identity.sha256) for split in SPLITS}
    manifests = {split: manifest for split, manifest in found.items() if manifest is not None}
    if len(manifests) < len(SPLITS):
        with ExitStack() as stack:
            # A build that was cut off between its two manifests goes on with the missing split only.
            writers = {
                split: stack.enter_context(TokenWriter(root, version, split, identity))
                for split in SPLITS
                if split not in manifests
            }

            def writer_of(text: str) -> TokenWriter | None:
                return writers.get("heldout" if is_heldout(text, heldout_share, heldout_salt) else "train")

            empty = 0
            for texts in _batches(paths):
                visible = [text for text in texts if text.strip()]
                empty += len(texts) - len(visible)
                done = _write_texts(visible, tokenizer, identity.eos, writer_of)
                if progress is not None:
                    progress(done)
            provenance = recipe | {"empty_documents": empty}
            manifests |= {split: writer.close(provenance) for split, writer in writers.items()}
    return manifests["train"], manifests["heldout"]


def read_documents(path: Path) -> Iterator[str]:
    """The texts of one input file, in order, empty ones included."""
    if path.suffix == ".txt":
        yield _decode(path.read_bytes(), str(path))
    elif path.suffix == ".jsonl":
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _text_of(line, f"{path}, line {number}")
    else:
        raise DataError(f"{path}: cannot read {path.suffix or 'a file without a suffix'}. Give .txt or .jsonl files.")


def _text_of(line: bytes, where: str) -> str:
    try:
        record = json.loads(_decode(line, where))
    except ValueError as error:
        raise DataError(f"{where}: not JSON ({error}). Write one object a line.") from None
    text = record.get("text") if isinstance(record, dict) else None
    if not isinstance(text, str):
        raise DataError(f'{where}: has no string under "text". Write one {{"text": ...}} a line.')
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DataError(f"{where}: its text has half a surrogate pair, which is no character. Repair it.") from None
    return text


def _decode(data: bytes, where: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8 at byte {error.start}. Convert the file to UTF-8.") from None


def _write_texts(
    texts: list[str], tokenizer: Tokenizer, eos: int, writer_of: Callable[[str], TokenWriter | None]
) -> int:
    """Hand every text's tokens to its writer, if it has one; the bytes of all texts."""
    # Text that spells an end mark is text: it must not end a document.
    tokenizer.encode_special_tokens = True
    done = 0
    for text, encoding in zip(texts, tokenizer.encode_batch_fast(texts, add_special_tokens=False), strict=True):
        text_bytes = len(text.encode())
        if (writer := writer_of(text)) is not None:
            writer.add_document(np.array([*encoding.ids, eos], np.int64), text_bytes)
        done += text_bytes
    return done


def _batches(paths: Sequence[Path]) -> Iterator[list[str]]:
    batch: list[str] = []
    characters = 0
    for path in paths:
        for text in read_documents(path):
            batch.append(text)
            characters += len(text)
            if characters >= BATCH_BYTES:
                yield batch
                batch, characters = [], 0
    if batch:
        yield batch


def _fingerprint(path: Path) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return {"name": path.name, "bytes": file.tell(), "sha256": digest}
    except OSError as error:
        raise DataError(f"{path}: cannot read this input ({error.strerror}). Correct its path in the config.") from None


def _built(root: Path, version: str, split: str, recipe: dict[str, Any], tokenizer_sha256: str) -> Manifest | None:
    """The split's manifest if it was made by this recipe, None if there is none yet."""
    path = manifest_path(root, version, split)
    if not path.exists():
        return None
    manifest = load_manifest(path)
    changed = [key for key, value in recipe.items() if manifest.provenance.get(key) != value]
    if manifest.tokenizer.sha256 != tokenizer_sha256:
        changed.append("tokenizer")
    if changed:
        raise DataError(
            f"{path} was made with other {', '.join(changed)}, and a version never changes: name the new data another "
            "version, or delete this one with everything that was trained on it"
        )
    return manifest
