from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.data.manifest import Manifest, manifest_path
from lrps.data.verify import verify_manifest
from lrps.errors import DataError


@pytest.fixture(scope="module")
def built(tmp_path_factory, build_version) -> tuple[Path, Manifest]:
    root = tmp_path_factory.mktemp("verify")
    return manifest_path(root, "v1", "train"), build_version(root, tokens=3000)


@pytest.fixture
def fresh(tmp_path, build_version) -> tuple[Path, Manifest]:
    return manifest_path(tmp_path, "v1", "train"), build_version(tmp_path, tokens=3000)


def test_a_whole_version_is_found_whole(built):
    path, manifest = built
    steps: list[int] = []
    found = verify_manifest(path, steps.append)
    assert found.ok
    assert (found.shards, found.blocks, found.bytes) == (3, 12, sum(shard.bytes for shard in manifest.shards))
    assert steps == [shard.bytes for shard in manifest.shards]


@given(number=st.integers(0, 2), place=st.integers(0, 2**32), flip=st.integers(1, 255))
def test_any_single_damaged_byte_is_found(number, place, flip, built):
    path, manifest = built
    shard = manifest.shards[number]
    file = path.parent / shard.name
    whole = file.read_bytes()
    place %= len(whole)
    data = bytearray(whole)
    data[place] ^= flip
    try:
        file.write_bytes(data)
        found = verify_manifest(path)
    finally:
        file.write_bytes(whole)
    assert not found.ok
    assert found.shards == number
    assert str(file) in found.fault
    for member in shard.members:
        assert (member.key in found.fault) == (member.offset <= place < member.offset + 2 * member.tokens)


@pytest.mark.parametrize(
    ("change", "fault"), [(lambda data: data[:-1], "bytes,"), (lambda data: data + b"\0", "bytes,")]
)
def test_a_wrong_size_is_found(change, fault, fresh):
    path, manifest = fresh
    file = path.parent / manifest.shards[1].name
    file.write_bytes(change(file.read_bytes()))
    found = verify_manifest(path)
    assert found.fault is not None
    assert found.fault.startswith(f"{file} has ")
    assert (found.shards, found.blocks) == (1, 4)


def test_a_missing_shard_is_found(fresh):
    path, manifest = fresh
    (path.parent / manifest.shards[2].name).unlink()
    assert verify_manifest(path).fault == f"{path.parent / manifest.shards[2].name} is missing"


def test_shards_that_changed_places_are_found(fresh):
    path, manifest = fresh
    first, second = (path.parent / shard.name for shard in manifest.shards[:2])
    data = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(data)
    assert not verify_manifest(path).ok


def test_a_missing_manifest_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no such manifest"):
        verify_manifest(tmp_path / "v1-train.manifest.json")
