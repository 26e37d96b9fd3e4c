"""Small versions whose tokens count 0, 1, 2, ...: a row's first token says where the row comes from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lrps.data.manifest import Manifest, TokenizerIdentity
from lrps.data.writer import TokenWriter

BuildVersion = Callable[..., Manifest]


@pytest.fixture(scope="session")
def identity() -> TokenizerIdentity:
    return TokenizerIdentity("counting", "0" * 64, 2**16, 0)


@pytest.fixture(scope="session")
def build_version(identity: TokenizerIdentity) -> BuildVersion:
    def build(root: Path, version: str = "v1", tokens: int = 5000, **options: int) -> Manifest:
        """Documents of 1, 38, 75, ... tokens in blocks of 256, 4 blocks a shard."""
        sizes = {"block_tokens": 256, "blocks_per_shard": 4} | options
        with TokenWriter(root, version, "train", identity, **sizes) as writer:
            start, length = 0, 1
            while start < tokens:
                document = np.arange(start, min(start + length, tokens))
                writer.add_document(document, 3 * len(document))
                start, length = start + length, length % 300 + 37
            return writer.close({"made_by": "the tests"})

    return build
