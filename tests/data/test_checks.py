from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from lrps.base.errors import DataError
from lrps.data.checks import BlockChecks
from lrps.data.files import LocalFiles
from lrps.data.manifest import Manifest, Shard
from lrps.data.stream import PathData, TokenSource
from lrps.paths.graph import Segment, SourceRange


@pytest.fixture
def built(tmp_path, build_version) -> tuple[Path, Manifest]:
    """3 shards of 4 blocks of 256 tokens."""
    return tmp_path / "v1", build_version(tmp_path, tokens=12 * 256)


def damage(file: Path, place: int) -> None:
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)


def wait_until(checks: BlockChecks, numbers: list[int]) -> None:
    until = time.monotonic() + 600
    while not checks.whole[numbers].all():
        assert time.monotonic() < until
        time.sleep(0.001)


def test_announced_blocks_are_checked_in_the_background(built):
    directory, manifest = built
    checks = BlockChecks(manifest, LocalFiles(directory))
    checks.announce([(0, 1), (2, 11)])
    wait_until(checks, [1, 11])
    assert np.flatnonzero(checks.whole).tolist() == [1, 11]
    checks.announce([(1, 4)])  # and again, when the first thread has long ended
    wait_until(checks, [4])


def test_what_is_wrong_in_the_background_is_left_for_the_reader(built):
    directory, manifest = built
    damage(directory / manifest.shards[0].name, manifest.blocks[1].offset)
    (directory / manifest.shards[1].name).unlink()
    checks = BlockChecks(manifest, LocalFiles(directory))
    checks.announce([(0, 0), (0, 1), (1, 4), (2, 9)])
    wait_until(checks, [0, 9])
    assert np.flatnonzero(checks.whole).tolist() == [0, 9]


class FarAway(LocalFiles):
    def find(self, shard: Shard) -> None:
        """Not on this machine."""


def test_nothing_is_downloaded_to_be_checked(built):
    directory, manifest = built
    checks = BlockChecks(manifest, FarAway(directory))
    checks.announce([(0, 1), (2, 11)])
    checks._thread.join()
    assert not checks.whole.any()


def test_a_block_is_required_once(built):
    directory, manifest = built
    checks = BlockChecks(manifest, LocalFiles(directory))
    block = manifest.blocks[2]
    tokens = (directory / manifest.shards[0].name).read_bytes()[block.offset : block.offset + 512]
    with pytest.raises(DataError, match=rf"block {block.key} is damaged.*lrps data verify"):
        checks.require(0, 2, memoryview(b"x" + tokens[1:]))
    checks.require(0, 2, memoryview(tokens))
    checks.require(0, 2, memoryview(b""))


def test_another_file_in_the_place_of_a_checked_one_is_checked_anew(built, tmp_path):
    """As a repair by rsync does: what was checked by name is forgotten when the reader opens another file."""
    directory, manifest = built
    source = TokenSource(manifest, LocalFiles(directory), sequence_length=20, seed=1)
    source._checks.announce([(1, n) for n in range(4, 8)])
    wait_until(source._checks, [4, 5, 6, 7])
    file = directory / manifest.shards[1].name
    other = tmp_path / "other"
    shutil.copy(file, other)
    damage(other, manifest.blocks[6].offset)
    other.replace(file)
    with pytest.raises(DataError, match="v1-train-000000006 is damaged"):
        source.read(np.arange(source.rows))


def test_what_cannot_be_read_is_told(built):
    directory, manifest = built
    file = directory / manifest.shards[1].name
    file.unlink()
    file.mkdir()
    source = TokenSource(manifest, LocalFiles(directory), sequence_length=20, seed=1)
    with pytest.raises(DataError, match=f"{file} cannot be read: Is a directory; make it a file"):
        source.read(np.arange(source.rows))


@pytest.mark.parametrize("order", ["full", "window"])
def test_a_stage_stops_before_the_first_damaged_row_with_checks_ahead(order, built, tmp_path):
    directory, manifest = built
    shutil.copytree(directory, tmp_path / "copy")
    damage(tmp_path / "copy" / manifest.shards[1].name, manifest.blocks[6].offset + 511)
    segments = [Segment(24, (SourceRange("v1", 0, 144),))]
    whole, damaged = (
        PathData(segments, {"v1": TokenSource(manifest, LocalFiles(d), sequence_length=20, seed=1, order=order)}, 6)
        for d in (directory, tmp_path / "copy")
    )
    for step in range(24):
        if any(row // 12 == 6 for _, _, row in damaged.rows_of(step)):
            with pytest.raises(DataError, match="v1-train-000000006 is damaged"):
                damaged.batch(step)
        else:
            assert np.array_equal(damaged.batch(step), whole.batch(step))
