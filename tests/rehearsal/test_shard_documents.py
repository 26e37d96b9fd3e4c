"""Documents by number, from shards whose blocks cut them anywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lrps.base.errors import DataError
from lrps.data.build.writer import TokenWriter
from lrps.data.files import LocalFiles
from lrps.data.manifest import Manifest, TokenizerIdentity
from lrps.rehearsal.shard_documents import ShardDocuments

BYTES = TokenizerIdentity("bytes", "0" * 64, 257, 0)


def write(root: Path, lengths: list[int], block_tokens: int, blocks_per_shard: int) -> tuple[Manifest, list[list[int]]]:
    documents = [[1 + (number + place) % 256 for place in range(size)] for number, size in enumerate(lengths)]
    settings = {"block_tokens": block_tokens, "blocks_per_shard": blocks_per_shard}
    with TokenWriter(root, "v1", "train", BYTES, **settings) as writer:
        for document in documents:
            writer.add_document(np.array([*document, BYTES.eos]), len(document))
        return writer.close({}), documents


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=12), st.integers(1, 12), st.integers(1, 3), st.randoms())
def test_documents_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], block: int, per_shard: int, random: object
) -> None:
    root = tmp_path_factory.mktemp("shards")
    manifest, documents = write(root, lengths, block, per_shard)
    found = ShardDocuments(manifest, LocalFiles(root / "v1"))
    assert len(found) == len(documents)
    numbers = list(range(len(documents)))
    random.shuffle(numbers)  # type: ignore[attr-defined]
    assert {number: found.read(number).tolist() for number in numbers} == dict(enumerate(documents))


def test_damage_is_told(tmp_path: Path) -> None:
    manifest, _ = write(tmp_path, [50, 60], 32, 8)
    shard = tmp_path / "v1" / manifest.shards[0].name
    content = bytearray(shard.read_bytes())
    content[manifest.blocks[1].offset + 3] ^= 1
    shard.write_bytes(content)
    documents = ShardDocuments(manifest, LocalFiles(tmp_path / "v1"))
    with pytest.raises(DataError, match="v1-train-000000001 is damaged"):
        documents.read(0)
    shard.write_bytes(b"no tar")
    with pytest.raises(DataError, match="cannot be read as a shard|are not those of its manifest"):
        ShardDocuments(manifest, LocalFiles(tmp_path / "v1"))
    shard.unlink()
    with pytest.raises(DataError, match="cannot be read as a shard"):
        ShardDocuments(manifest, LocalFiles(tmp_path / "v1"))


def test_a_bos_token_is_not_part_of_a_document(tmp_path: Path) -> None:
    manifest, documents = write(tmp_path, [5, 0, 3], 4, 8)
    begin = documents[0][0]
    found = ShardDocuments(manifest, LocalFiles(tmp_path / "v1"), begin)
    expected = [document[1:] if document[:1] == [begin] else document for document in documents]
    assert [found.read(number).tolist() for number in range(3)] == expected
