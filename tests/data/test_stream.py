from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrps.base.errors import ConfigError, DataError
from lrps.data.composition import Composition
from lrps.data.files import LocalFiles
from lrps.data.manifest import Manifest, Shard
from lrps.data.stream import MixedSource, PathData, TokenSource
from lrps.paths.graph import Segment, SourceRange

L = 20
BATCH = 12


@pytest.fixture(scope="session")
def built(tmp_path_factory, build_version) -> tuple[Path, dict[str, Manifest]]:
    root = tmp_path_factory.mktemp("versions")
    sizes = {"v1": 5000, "v2": 3000, "v3": 700}
    return root, {version: build_version(root, version, tokens) for version, tokens in sizes.items()}


@pytest.fixture(scope="session")
def sources(built) -> dict[str, TokenSource]:
    root, manifests = built
    return {v: TokenSource(m, LocalFiles(root / v), sequence_length=L, seed=3) for v, m in manifests.items()}


@pytest.fixture(scope="session")
def stage(sources) -> PathData:
    """v1 alone, then all three mixed (v1 goes on and wraps into its second epoch), then v3 alone."""
    mixed = Segment(20, (SourceRange("v1", 60, 190), SourceRange("v2", 7, 30), SourceRange("v3", 0, 20)))
    return PathData(
        [Segment(5, (SourceRange("v1", 0, 60),)), mixed, Segment(2, (SourceRange("v3", 20, 24),))], sources, BATCH
    )


def source_row(source: TokenSource, first_token: int) -> int:
    """The row that begins with this token: blocks of 256 hold 12 rows of 20, tokens count from 0."""
    block, offset = divmod(first_token, 256)
    return block * 12 + offset // L


@pytest.mark.parametrize("order", ["full", "window"])
def test_an_epoch_reads_each_row_once_and_no_row_spans_two_blocks(order, built):
    root, manifests = built
    source = TokenSource(manifests["v1"], LocalFiles(root / "v1"), sequence_length=L, seed=0, order=order)
    batch = source.read(np.arange(source.rows))
    starts = [block + offset for block in range(0, 5000, 256) for offset in range(0, min(256, 5000 - block) - L + 1, L)]
    assert batch.shape == (len(starts), L)
    assert batch.dtype == np.uint16
    assert sorted(batch[:, 0].tolist()) == starts
    assert np.array_equal(batch - batch[:, :1], np.broadcast_to(np.arange(L), batch.shape))


def test_later_epochs_are_shuffled_anew(sources):
    first, second = (sources["v1"].read(np.arange(n, n + sources["v1"].rows))[:, 0] for n in (0, sources["v1"].rows))
    assert sorted(first) == sorted(second)
    assert (first == second).mean() < 0.1


def test_a_stage_reads_exactly_the_parts_it_names(stage, sources):
    read = Counter(entry for step in range(stage.steps) for entry in stage.rows_of(step))
    expected = Counter()
    for name, start, stop in (("v1", 0, 250), ("v2", 7, 37), ("v3", 0, 44)):
        positions = np.arange(start, stop)
        rows = sources[name].order(positions)
        expected.update(zip([name] * len(rows), positions // sources[name].rows, rows, strict=True))
    assert read == expected


@given(step=st.integers(0, 26))
def test_a_batch_holds_the_rows_it_says(step, stage, sources):
    tokens = stage.batch(step)
    assert tokens.shape == (BATCH, L)
    assert tokens.dtype == np.uint16
    named = [row for _, _, row in stage.rows_of(step)]
    assert [source_row(sources["v1"], token) for token in tokens[:, 0].tolist()] == named


@given(step=st.integers(0, 26), world=st.sampled_from([1, 2, 3, 4, 6, 12]))
def test_every_world_size_reads_the_same_global_batch(step, world, stage):
    ranks = [stage.batch(step, rank, world) for rank in range(world)]
    assert {len(rows) for rows in ranks} == {BATCH // world}
    assert np.array_equal(np.concatenate(ranks), stage.batch(step))


@given(steps=st.permutations(range(27)))
def test_a_batch_depends_on_its_step_only(stage, sources, steps):
    fresh = PathData([Segment(5, (SourceRange("v1", 0, 60),))], sources, BATCH)
    batches = {step: stage.batch(step) for step in steps}
    for step in range(5):
        assert np.array_equal(batches[step], fresh.batch(step))
    for step in range(27):
        assert np.array_equal(batches[step], stage.batch(step))


@settings(deadline=None)
@given(data=st.data())
def test_the_row_stream_does_not_know_of_batches_ranks_or_restarts(data, built, sources):
    """World size, batch and sequence length change between any two steps, with or without a new process."""
    mixed = Segment(20, (SourceRange("v1", 60, 190), SourceRange("v2", 7, 30), SourceRange("v3", 0, 20)))
    segments = [Segment(5, (SourceRange("v1", 0, 60),)), mixed, Segment(2, (SourceRange("v3", 20, 24),))]
    straight = PathData(segments, sources, BATCH)
    stage, done, tokens = straight, 0, []
    while done < straight.rows:
        if data.draw(st.booleans()):
            root, manifests = built
            again = {v: TokenSource(m, LocalFiles(root / v), sequence_length=L, seed=3) for v, m in manifests.items()}
            stage = PathData(segments, again, BATCH)
        world = data.draw(st.sampled_from([1, 2, 3, 4, 8]))
        rows = min(world * data.draw(st.integers(1, 20)), (straight.rows - done) // world * world) // world
        if rows == 0:
            world, rows = 1, straight.rows - done
        length = data.draw(st.sampled_from([L, L // 2, L // 5]))
        for rank in range(world):
            part = stage.read(done + rank * rows, rows, length)
            assert part.shape == (rows * L // length, length)
            tokens.append(part.reshape(-1))
        done += rows * world
    assert np.array_equal(np.concatenate(tokens), straight.read(0, straight.rows).reshape(-1))


def test_rows_outside_and_lengths_that_do_not_divide_are_refused(stage):
    assert stage.read(stage.rows, 0).shape == (0, L)
    for first, rows in ((-1, 1), (0, stage.rows + 1), (stage.rows, 1)):
        with pytest.raises(IndexError, match="outside the path's 324 rows"):
            stage.read(first, rows)
    with pytest.raises(ConfigError, match="cannot be cut into sequences of 3"):
        stage.read(0, 1, 3)


class Recorded(LocalFiles):
    """Local files that remember what was asked of them."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.announced: list[str] = []
        self.open: set[str] = set()
        self.most_open = 0
        self.held: set[str] = set()
        self.most_held = 0

    def path(self, shard: Shard) -> Path:
        self.open.add(shard.name)
        self.most_open = max(self.most_open, len(self.open))
        return super().path(shard)

    def prefetch(self, shards: Iterable[Shard]) -> None:
        names = [shard.name for shard in shards]
        self.announced += names
        self.held |= set(names)
        self.most_held = max(self.most_held, len(self.held))

    def release(self, shard: Shard) -> None:
        self.open.discard(shard.name)
        self.held.discard(shard.name)


def test_files_are_announced_in_the_order_of_need_before_they_are_read(tmp_path, build_version, monkeypatch):
    monkeypatch.setattr("lrps.data.stream.DRAW_ROWS", 48)
    manifest = build_version(tmp_path, tokens=40 * 1024)
    files = Recorded(tmp_path / "v1")
    source = TokenSource(manifest, files, sequence_length=L, seed=3, order="window")
    stage = PathData([Segment(60, (SourceRange("v1", 0, 60 * 24),))], {"v1": source}, 24)
    first_need = list(dict.fromkeys(shard_of(manifest, row) for step in range(60) for _, _, row in stage.rows_of(step)))
    files.open.clear()
    for step in range(60):
        stage.batch(step)
        assert files.open <= set(files.announced)
    assert list(dict.fromkeys(files.announced)) == first_need
    assert files.most_open <= 16  # of four windows of eight shards two
    assert len(first_need) == 32


@pytest.mark.parametrize(("first", "draw_rows", "most"), [(0, 48, 48), (58, 480, 144)])
def test_a_rank_keeps_no_files_of_the_other_ranks(first, draw_rows, most, tmp_path, build_version, monkeypatch):
    """What is announced for all ranks, and needed by others only, is released again; nothing of the past is asked."""
    monkeypatch.setattr("lrps.data.stream.DRAW_ROWS", draw_rows)
    manifest = build_version(tmp_path, tokens=60 * 1024, blocks_per_shard=1)  # 240 shards of 12 rows
    files = Recorded(tmp_path / "v1")
    source = TokenSource(manifest, files, sequence_length=L, seed=3, order="window")
    stage = PathData([Segment(120, (SourceRange("v1", 0, 120 * 24),))], {"v1": source}, 24)
    for step in range(first, 120):
        stage.batch(step, rank=7, world=24)
    needed = {manifest.shards[row // 12].name for step in range(first, 120) for _, _, row in stage.rows_of(step)}
    assert set(files.announced) == needed
    assert files.most_held <= most  # 16 mapped, and the windows of 8 shards and 96 rows that two draws touch


def shard_of(manifest: Manifest, row: int) -> str:
    """Shards of 4 blocks of 12 rows."""
    return manifest.shards[row // 48].name


@pytest.mark.parametrize("draw_rows", [1, 12, 30, 8192])
def test_the_memo_is_no_part_of_the_result(draw_rows, stage, sources, monkeypatch):
    expected = [stage.batch(step) for step in range(5, 25)]
    monkeypatch.setattr("lrps.data.stream.DRAW_ROWS", draw_rows)
    mixed = Segment(20, (SourceRange("v1", 60, 190), SourceRange("v2", 7, 30), SourceRange("v3", 0, 20)))
    again = PathData([mixed], sources, BATCH)
    assert np.array_equal([again.batch(step) for step in range(20)], expected)


def test_positions_are_what_comes_next(stage):
    assert stage.positions(0) == {"v1": 0, "v2": 7, "v3": 0}
    assert stage.positions(5) == {"v1": 60, "v2": 7, "v3": 0}
    assert stage.positions(25) == {"v1": 250, "v2": 37, "v3": 20}
    assert stage.positions(27) == {"v1": 250, "v2": 37, "v3": 44}
    counts = Counter(source for step in range(15) for source, _, _ in stage.rows_of(step))
    assert stage.positions(15) == {"v1": counts["v1"], "v2": 7 + counts["v2"], "v3": counts["v3"]}


def test_a_part_that_jumps_counts_once_it_has_begun(sources):
    jump = PathData(
        [Segment(1, (SourceRange("v1", 0, 12),)), Segment(1, (SourceRange("v1", 100, 12),))], sources, BATCH
    )
    assert [jump.positions(step)["v1"] for step in (0, 1, 2)] == [0, 12, 112]


def test_a_fork_goes_on_where_its_parent_stood(sources):
    whole = PathData([Segment(9, (SourceRange("v1", 0, 108),))], sources, BATCH)
    position = whole.positions(4)["v1"]
    fork = PathData([Segment(5, (SourceRange("v1", position, 60),))], sources, BATCH)
    assert [fork.rows_of(step) for step in range(5)] == [whole.rows_of(step) for step in range(4, 9)]


def test_the_order_is_fixed_by_a_source_name_and_seed_alone(built, sources, build_version, tmp_path):
    root, manifests = built
    rebuilt = TokenSource(build_version(tmp_path, "v1"), LocalFiles(tmp_path / "v1"), sequence_length=L, seed=3)
    assert np.array_equal(rebuilt.read(np.arange(50)), sources["v1"].read(np.arange(50)))
    other_name = TokenSource(replace(manifests["v1"], version="w1"), LocalFiles(root / "v1"), sequence_length=L, seed=3)
    assert not np.array_equal(other_name.read(np.arange(50)), sources["v1"].read(np.arange(50)))
    other_seed = TokenSource(manifests["v1"], LocalFiles(root / "v1"), sequence_length=L, seed=4)
    assert not np.array_equal(other_seed.read(np.arange(50)), sources["v1"].read(np.arange(50)))


def copy_of(built, tmp_path: Path) -> tuple[Manifest, Path]:
    root, manifests = built
    shutil.copytree(root / "v2", tmp_path / "v2")
    return manifests["v2"], tmp_path / "v2"


@pytest.mark.parametrize("byte", [0, 1, 100, 239, 511])
def test_a_flipped_byte_stops_the_reader_before_the_block_is_used(byte, built, tmp_path):
    manifest, directory = copy_of(built, tmp_path)
    shard = manifest.shards[1]
    block = manifest.blocks[shard.blocks[2]]
    data = bytearray((directory / shard.name).read_bytes())
    data[block.offset + byte] ^= 16
    (directory / shard.name).write_bytes(data)
    source = TokenSource(manifest, LocalFiles(directory), sequence_length=L, seed=0)
    damaged = range(6 * 12, 7 * 12)  # the rows of block 6
    for position in range(source.rows):
        if int(source.order(np.array([position]))[0]) in damaged:
            with pytest.raises(DataError, match=rf"{shard.name}: block {block.key} is damaged.*Copy it again"):
                source.read(np.array([position]))
        else:
            assert source.read(np.array([position])).shape == (1, L)


def test_files_that_are_missing_or_short_are_named(built, tmp_path):
    manifest, directory = copy_of(built, tmp_path)
    shards = [directory / shard.name for shard in manifest.shards]
    shards[0].unlink()
    shards[1].write_bytes(shards[1].read_bytes()[:-1])
    shards[2].write_bytes(b"")
    source = TokenSource(manifest, LocalFiles(directory), sequence_length=L, seed=0)

    def of_block(number: int) -> np.ndarray:
        return np.flatnonzero(source.order(np.arange(source.rows)) // 12 == number)

    with pytest.raises(DataError, match=rf"{shards[0]} is missing: \d+ bytes expected.*lrps data build"):
        source.read(of_block(0))
    with pytest.raises(DataError, match=rf"{shards[1]} has \d+9 bytes, \d+ expected"):
        source.read(of_block(4))
    with pytest.raises(DataError, match=rf"{shards[2]} has 0 bytes, \d+ expected"):
        source.read(of_block(8))


def test_shards_are_opened_when_needed_only(built, tmp_path):
    _, manifests = built
    TokenSource(manifests["v1"], LocalFiles(tmp_path / "nowhere"), sequence_length=L, seed=0)


def test_too_little_data_for_one_row_is_refused(built):
    root, manifests = built
    with pytest.raises(DataError, match="has 0 sequences of 257 tokens, 1 are needed"):
        TokenSource(manifests["v1"], LocalFiles(root / "v1"), sequence_length=257, seed=0)
    available = manifests["v1"].rows(L)
    with pytest.raises(DataError, match=f"has {available} sequences of {L} tokens, {available + 1} are needed"):
        TokenSource(manifests["v1"], LocalFiles(root / "v1"), sequence_length=L, seed=0, rows=available + 1)


@pytest.mark.parametrize("order", ["full", "window"])
@pytest.mark.parametrize("rows", [1, 30, 200])
def test_a_source_of_some_rows_is_the_first_of_its_file(order, rows, built):
    root, manifests = built
    source = TokenSource(manifests["v1"], LocalFiles(root / "v1"), sequence_length=L, seed=0, order=order, rows=rows)
    for epoch in range(2):
        found = source.order(np.arange(epoch * rows, (epoch + 1) * rows))
        assert sorted(found.tolist()) == list(range(rows))


def test_a_stage_refuses_sources_that_do_not_fit(built, sources):
    root, manifests = built
    mixed = Segment(1, (SourceRange("v1", 0, 6), SourceRange("v2", 0, 6)))
    with pytest.raises(DataError, match="no data for v2; the config has v1"):
        PathData([mixed], {"v1": sources["v1"]}, BATCH)
    with pytest.raises(DataError, match="not 5 per step"):
        PathData([mixed], sources, 5)
    longer = TokenSource(manifests["v2"], LocalFiles(root / "v2"), sequence_length=2 * L, seed=3)
    with pytest.raises(DataError, match="different sequence lengths"):
        PathData([mixed], sources | {"v2": longer}, BATCH)
    tokenizer = replace(manifests["v2"].tokenizer, sha256="1" * 64)
    foreign = TokenSource(
        replace(manifests["v2"], tokenizer=tokenizer), LocalFiles(root / "v2"), sequence_length=L, seed=3
    )
    with pytest.raises(DataError, match="different tokenizers"):
        PathData([mixed], sources | {"v2": foreign}, BATCH)


def test_uneven_worlds_and_steps_outside_are_refused(stage):
    with pytest.raises(ConfigError, match="12 sequences cannot be divided among 5 ranks"):
        stage.batch(0, 0, 5)
    for step in (-1, 27):
        with pytest.raises(IndexError):
            stage.batch(step)
    with pytest.raises(IndexError):
        stage.positions(28)
    with pytest.raises(IndexError):
        stage.batch(0, rank=3, world=3)


@given(counts=st.tuples(st.integers(1, 150), st.integers(1, 90)), start=st.integers(0, 400))
@settings(deadline=None, max_examples=30)
def test_a_mixed_source_gives_the_rows_of_its_parts(counts, start, sources):
    parts = [sources["v1"], sources["v3"]]
    mixed = MixedSource(parts, counts)
    # Beside another source, and from a position in a later epoch of the mixture on.
    segment = Segment(10, (SourceRange("m", start, 100), SourceRange("v2", 5, 20)))
    data = PathData([segment], {"m": mixed, "v2": sources["v2"]}, BATCH)
    tokens = np.concatenate([data.batch(step) for step in range(10)])
    rows = [row for step in range(10) for row in data.rows_of(step)]
    composition = Composition(counts)
    first, after = composition.taken(start), composition.taken(start + 100)
    for number, source in enumerate(parts):
        mine = [name == source.manifest.version for name, _, _ in rows]
        expected = source.read(np.arange(first[number], after[number]))
        assert np.array_equal(tokens[mine], expected)
    assert np.array_equal(tokens[[name == "v2" for name, _, _ in rows]], sources["v2"].read(np.arange(5, 25)))
    assert data.positions(10) == {"m": start + 100, "v2": 25}
