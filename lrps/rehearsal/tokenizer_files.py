"""Files beside a model's tokenizer.json that decide how text becomes tokens, and which tokens are special."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lrps.base.files import sha256_file
from lrps.rehearsal.stage_file import stage_settings

TOKENIZER_FILES = "tokenizer_files_sha256"
"""Key of `tokenizer_files_digest` in a model's identity; absent in sets of earlier versions of lrps."""

_PATTERNS = (
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "generation_config.json"),
    *("vocab.*", "merges.txt", "*.model", "*.tiktoken", "tekken.json"),
)


def tokenizer_files_digest(directory: Path) -> str | None:
    """Return the SHA-256 over the names and contents of these files; None if there are none."""
    files = sorted({file for pattern in _PATTERNS for file in directory.glob(pattern) if file.is_file()})
    listed = "".join(f"{file.name} {sha256_file(file)}\n" for file in files)
    return hashlib.sha256(listed.encode()).hexdigest() if listed else None


def as_begun(identity: Mapping[str, Any], key: str, directory: Path) -> dict[str, Any]:
    """Return the identity of a model as a set has recorded it that an earlier version of lrps has begun.

    Such a set continues without TOKENIZER_FILES. key: of the identity in a stage's settings. directory: of the stages'
    files.
    """
    former = {name: value for name, value in identity.items() if name != TOKENIZER_FILES}
    begun = any(stage_settings(file).get(key) == former for file in sorted(directory.glob("*.jsonl")))
    return former if begun else dict(identity)
