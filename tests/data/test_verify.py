from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.base.errors import DataError
from lrps.data.manifest import Manifest, manifest_path
from lrps.data.verify import verify_manifest


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
    found = verify_manifest(path, progress=steps.append)
    assert found.ok
    assert (found.shards, found.blocks, found.bytes) == (3, 12, sum(shard.bytes for shard in manifest.shards))
    assert sum(steps) == found.bytes


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
    assert found.shards == 2
    (fault,) = found.faults
    assert str(file) in fault
    for member in map(manifest.blocks.__getitem__, shard.blocks):
        assert (member.key in fault) == (member.offset <= place < member.offset + 2 * member.tokens)


@pytest.mark.parametrize(
    ("change", "fault"), [(lambda data: data[:-1], "bytes,"), (lambda data: data + b"\0", "bytes,")]
)
def test_a_wrong_size_is_found(change, fault, fresh):
    path, manifest = fresh
    file = path.parent / manifest.shards[1].name
    file.write_bytes(change(file.read_bytes()))
    found = verify_manifest(path)
    assert [fault.startswith(f"{file} has ") for fault in found.faults] == [True]
    assert (found.shards, found.blocks) == (2, 8)


def test_a_missing_shard_is_found(fresh):
    path, manifest = fresh
    (path.parent / manifest.shards[2].name).unlink()
    (path.parent / manifest.shards[0].name).unlink()
    missing = [path.parent / manifest.shards[number].name for number in (0, 2)]
    assert verify_manifest(path).faults == tuple(f"{file} is missing" for file in missing)


def test_shards_that_changed_places_are_found(fresh):
    path, manifest = fresh
    first, second = (path.parent / shard.name for shard in manifest.shards[:2])
    data = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(data)
    assert len(verify_manifest(path).faults) == 8  # the blocks of both


def test_every_damaged_block_is_named(fresh):
    path, manifest = fresh
    file = path.parent / manifest.shards[0].name
    data = bytearray(file.read_bytes())
    for number in (0, 2):
        data[manifest.blocks[number].offset] ^= 1
    file.write_bytes(data)
    assert [manifest.blocks[n].key in fault for n, fault in zip((0, 2), verify_manifest(path).faults, strict=True)] == [
        True,
        True,
    ]


def test_shards_may_lie_elsewhere(fresh, tmp_path):
    path, manifest = fresh
    for shard in manifest.shards:
        (path.parent / shard.name).rename(tmp_path / shard.sha256)
    assert verify_manifest(path, lambda shard: tmp_path / shard.sha256).ok


def test_a_missing_manifest_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no such manifest"):
        verify_manifest(tmp_path / "v1-train.manifest.json")
