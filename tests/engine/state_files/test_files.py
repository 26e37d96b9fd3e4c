"""Values of a state in files: what segments hold is what is read, by range or while a segment is hashed."""

from __future__ import annotations

import hashlib
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from torch import Tensor

from lrps.base import files as base_files
from lrps.base.errors import CheckpointError, UnreadableCheckpointError
from lrps.engine.state_files.reading import OpenFiles, SavedState, open_state, read_values
from lrps.engine.state_files.writing import DTYPES, write_segment
from lrps.store.fragments.index import INDEX, FragmentIndex
from lrps.store.fragments.layouts import ElementRange, Shares
from lrps.store.fragments.ranges import StoredState
from lrps.store.segments import FileSegment
from support.divided_states import indexes, stored_parameters

Whole = dict[tuple[str, int], Tensor]


def values_of(index: FragmentIndex) -> Whole:
    """Random values of every state and parameter of an index."""
    sizes = [prod(shape) for shape in index.shapes.values()]
    return {
        (state, number): torch.randn(sizes[number]).to(DTYPES[index.states[state].dtype])
        for state, numbers in stored_parameters(index).items()
        for number in numbers
    }


def write(directory: Path, index: FragmentIndex, whole: Whole, order: list[int] | None = None) -> list[FileSegment]:
    """Write all segments, by default in their order, and the index."""

    def values(state: str, piece: ElementRange) -> Tensor:
        return whole[state, piece.parameter][piece.start : piece.stop]

    for file in directory.iterdir():
        file.unlink()
    (directory / INDEX).write_text(index.text())
    segments = order or range(sum(index.files))
    return [write_segment(directory, index, segment, values) for segment in segments]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@given(index=indexes(), data=st.data())
def test_any_range_is_read_as_it_was_written_whoever_hashes(
    index: FragmentIndex, data: st.DataObject, directory: Path
) -> None:
    whole = values_of(index)
    order = data.draw(st.permutations(range(sum(index.files))))
    written = write(directory, index, whole, order)
    for segment in written:
        content = (directory / segment.file).read_bytes()[segment.offset : segment.offset + segment.bytes]
        assert hashlib.sha256(content).hexdigest() == segment.sha256
    saved, copies, targets = SavedState(directory, index), [], {}
    for (state, number), values in whole.items():
        start = data.draw(st.integers(0, len(values)))
        target = torch.full(
            (len(values) - start,), -1.0, dtype=data.draw(st.sampled_from([values.dtype, torch.float32]))
        )
        targets[state, number] = start, target
        copies += saved.copies(state, index.names[number], start, target)
    hashed = data.draw(st.lists(st.sampled_from(written), unique=True))
    with OpenFiles(directory) as files:
        assert read_values(files, copies, hashed) == {segment: segment.sha256 for segment in hashed}
    for key, (start, target) in targets.items():
        assert torch.equal(target, whole[key][start:].to(target.dtype))


@given(index=indexes())
def test_a_file_is_valid_safetensors_with_a_tensor_of_each_state_and_segment(
    index: FragmentIndex, directory: Path
) -> None:
    whole = values_of(index)
    write(directory, index, whole)
    seen = set()
    for file in sorted(directory.glob("*.safetensors")):
        with safe_open(file, framework="pt") as stored:
            for key in stored.keys():  # noqa: SIM118 - a safetensors file is no dict
                state, _, segment = key.partition("|")
                seen.add((state, int(segment)))
                pieces = index.pieces(state, int(segment))
                parts = [whole[state, piece.parameter][piece.start : piece.stop] for piece in pieces]
                expected = torch.cat([*parts, torch.empty(0, dtype=DTYPES[index.states[state].dtype])])
                assert torch.equal(stored.get_tensor(key)[: len(expected)], expected)
    assert seen == {(state, segment) for state in index.states for segment in range(sum(index.files))}


def small_index(ranks: int = 2, files: tuple[int, ...] | None = None) -> FragmentIndex:
    layout = Shares(ranks, (6, 3), (0, 1))
    return FragmentIndex({"a": [2, 3], "b": [3]}, {"fp32": StoredState("elementwise", "F32")}, {"fp32": layout},
                         files or (ranks,), {"adam_step": 4.0})  # fmt: skip


def small(index: FragmentIndex) -> Whole:
    return {("fp32", 0): torch.arange(6.0), ("fp32", 1): torch.arange(3.0)}


@pytest.mark.parametrize("piece", [1, 5, 64, 2**24], ids=lambda piece: f"pieces of {piece} bytes")
def test_a_segment_that_is_hashed_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    index = small_index()
    written = write(tmp_path, index, small(index))
    monkeypatch.setattr(base_files, "_PIECE", piece)
    target, read = torch.empty(6), list[tuple[int, int]]()
    original = base_files.os.preadv

    def preadv(descriptor: int, buffers: list, offset: int) -> int:
        count = original(descriptor, buffers, offset)
        read.append((offset, count))
        return count

    monkeypatch.setattr(base_files.os, "preadv", preadv)
    with OpenFiles(tmp_path) as files:
        read_values(files, SavedState(tmp_path, index).copies("fp32", "a", 0, target), written)
    assert torch.equal(target, torch.arange(6.0))
    assert sum(count for _, count in read) == sum(each.bytes for each in written)


def test_a_state_is_read_by_name(tmp_path: Path) -> None:
    index = small_index(2, (1, 1))
    write(tmp_path, index, small(index))
    with open_state(tmp_path, {"a": [2, 3], "b": [3]}) as state:
        assert torch.equal(state.read("a"), torch.arange(6.0).view(2, 3))
        assert torch.equal(state.read("b"), torch.arange(3.0))
        assert state.adam_step == 4.0
        with pytest.raises(CheckpointError, match="parameter a lacks elements 0 to 6 of exp_avg"):
            state.read("a", "exp_avg")
    with (
        pytest.raises(CheckpointError, match=r"parameter b is \[3\] there and \[4\] in the model"),
        open_state(tmp_path, {"a": [2, 3], "b": [4]}),
    ):
        pass


def test_a_file_that_ends_early_is_an_error_that_names_it(tmp_path: Path) -> None:
    index = small_index()
    (file, _) = write(tmp_path, index, small(index))
    path = tmp_path / file.file
    path.write_bytes(path.read_bytes()[:-5])
    with open_state(tmp_path) as state, pytest.raises(CheckpointError, match=f"{path} cannot be read .*it ends before"):
        state.read("a")


def test_an_index_that_is_none_is_an_error_that_names_it(tmp_path: Path) -> None:
    for text in ("{}", "[]", '{"format": 3}', "\x00", '{"format":"lrps-fragments/9"}'):
        (tmp_path / INDEX).write_text(text)
        with pytest.raises(CheckpointError, match=f"{tmp_path / INDEX} cannot be read"), open_state(tmp_path):
            pass


def test_an_error_of_the_file_system_names_the_host(tmp_path: Path) -> None:
    index = small_index()
    (tmp_path / index.file_of(0)).symlink_to(index.file_of(0))
    segment = FileSegment(index.file_of(0), 0, 10, "", 0)
    with (
        OpenFiles(tmp_path) as files,
        pytest.raises(UnreadableCheckpointError, match=f"cannot be read on host {socket.gethostname()}"),
    ):
        read_values(files, [], [segment])


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    index = small_index()
    size = index.plan_of(0).extents[0][1]
    whole = small(index)
    with largest_file(size + 4), pytest.raises(CheckpointError, match="cannot write .*Free disk space"):
        write(tmp_path, index, whole)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CheckpointError, match="cannot write .*Not a directory"):
        write_segment(tmp_path / "file", index, 0, lambda state, piece: whole[state, piece.parameter])


def test_values_of_another_type_or_length_are_never_written_as_if_they_fitted(tmp_path: Path) -> None:
    index = small_index()
    with pytest.raises(ValueError, match=r"values of type torch.bfloat16 for 3 values of torch.float32 of fp32 of a"):
        write_segment(tmp_path, index, 0, lambda _, piece: torch.zeros(piece.stop - piece.start, dtype=torch.bfloat16))
    with pytest.raises(ValueError, match="2 values of type torch.float32 for 3 values"):
        write_segment(tmp_path, index, 0, lambda _, piece: torch.zeros(2))


def test_a_new_file_has_the_permissions_of_new_files(tmp_path: Path) -> None:
    index = small_index()
    write(tmp_path, index, small(index))
    (tmp_path / "other").touch()
    assert (tmp_path / index.file_of(0)).stat().st_mode == (tmp_path / "other").stat().st_mode
