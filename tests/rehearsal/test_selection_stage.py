"""Which candidates fill the rows of a set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrps.data.build.writer import TokenWriter
from lrps.data.manifest import TokenizerIdentity
from lrps.rehearsal import selection_stage
from lrps.rehearsal.selection_stage import whole_rows


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 400), st.integers(1, 30), st.integers(2, 64))
def test_rows_are_those_of_the_shards(
    tmp_path_factory: pytest.TempPathFactory, tokens: int, length: int, block: int
) -> None:
    root = tmp_path_factory.mktemp("rows")
    identity = TokenizerIdentity("bytes", "0" * 64, 257, 0)
    with TokenWriter(root, "v", "train", identity, block_tokens=block) as writer:
        writer.add_document(np.ones(tokens, np.int64), tokens)
        manifest = writer.close({})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection_stage, "BLOCK_TOKENS", block)
        assert whole_rows(tokens, length) == manifest.rows(length)


def test_the_blocks_are_those_of_the_writer(tmp_path: Path) -> None:
    writer = TokenWriter(tmp_path, "v", "train", TokenizerIdentity("bytes", "0" * 64, 257, 0))
    assert len(writer._buffer) == selection_stage.BLOCK_TOKENS
    writer.abort()
