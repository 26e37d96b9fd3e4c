"""Files of checkpoints as segments: what a manifest lists, what identifies a content, and who hashes what."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.store.fragments.index import file_name
from lrps.store.segments import (
    FileSegment,
    content_digest,
    dealt,
    entry_fault,
    file_digest,
    merged_entries,
    segment_sizes,
    segments_of,
    whole_entry,
)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def files_of(*sizes: tuple[int, ...], **others: int) -> dict[str, dict]:
    """Entries of files with segments of these sizes, and of others that are one segment."""
    found = {}
    for number, each in enumerate(sizes):
        offsets = [sum(each[:index]) for index in range(len(each))]
        listed = [[offset, size, f"{number}-{offset}"] for offset, size in zip(offsets, each, strict=True)]
        found[file_name(number, len(sizes))] = {"bytes": sum(each), "segments": listed}
    return found | {f"{name}.json": whole_entry(size, name) for name, size in others.items()}


def test_ranks_are_counted_over_the_files() -> None:
    found = segments_of(files_of((4, 6), (8,), state=3))
    assert [(each.file[:15], each.offset, each.bytes, each.rank) for each in found] == [
        ("fragments-00000", 0, 4, 0),
        ("fragments-00000", 4, 6, 1),
        ("fragments-00001", 0, 8, 2),
        ("state.json", 0, 3, None),
    ]
    where = found[1].where(Path("run", found[1].file))
    assert where == "run/fragments-00000-of-00002.safetensors, bytes 4 to 10, written by rank 1,"
    assert found[3].where(Path("run/state.json")) == "run/state.json"


@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=4), min_size=1, max_size=4), st.randoms())
def test_entries_come_from_what_the_ranks_wrote_in_any_order(sizes: list[list[int]], shuffled: object) -> None:
    files = files_of(*map(tuple, sizes))
    written = list(segments_of(files))
    shuffled.shuffle(written)  # type: ignore[attr-defined]
    assert merged_entries(written) == files
    assert all(entry_fault(entry) is None for entry in files.values())
    assert [segment_sizes(files[name]) for name in sorted(files)] == [tuple(each) for each in sizes]


@pytest.mark.parametrize(
    ("segments", "fault"),
    [
        ([[0, 4, ""], [5, 5, ""]], "a segment begins at byte 5 instead of 4"),
        ([[0, 4, ""]], "its segments have 4 bytes in all, and the file 10"),
        ([[0, -1, ""], [-1, 11, ""]], "the segment at byte 0 has -1 bytes"),
    ],
)
def test_segments_that_do_not_cover_their_file_are_a_fault(segments: list, fault: str) -> None:
    assert entry_fault({"bytes": 10, "segments": segments}) == fault


@given(content=st.binary(max_size=40), cuts=st.lists(st.integers(0, 40), max_size=3))
def test_the_digest_of_a_content_depends_on_every_byte_and_on_the_cuts(
    content: bytes, cuts: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    ends = sorted({min(cut, len(content)) for cut in cuts} | {len(content)})
    parts = [content[start:stop] for start, stop in zip([0, *ends], ends, strict=False)]
    listed, offset = [], 0
    for part in parts:
        listed.append([offset, len(part), sha256(part)])
        offset += len(part)
    entry = {"bytes": len(content), "segments": listed}
    file = tmp_path_factory.getbasetemp() / "content"
    file.write_bytes(content)
    assert file_digest(file, segment_sizes(entry)) == content_digest(entry)
    assert content_digest(whole_entry(len(content), sha256(content))) == sha256(content)
    assert (content_digest(entry) == sha256(content)) == (len(parts) == 1), "one segment is the whole file"
    if content:
        file.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        assert file_digest(file, segment_sizes(entry)) != content_digest(entry)


# Hashing in shares


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=40), st.integers(1, 20), st.booleans())
def test_every_segment_is_hashed_by_one_rank(sizes: list[int], count: int, whole: bool) -> None:
    if whole:  # As in the first format, where every file is a segment.
        segments = [FileSegment(f"file-{index:02d}", 0, size, "") for index, size in enumerate(sizes)]
    else:
        segments = list(segments_of(files_of(tuple(sizes), index=10**6, state=30)))
    shares = [dealt(segments, index, count) for index in range(count)]
    assert sorted((each for share in shares for each in share), key=segments.index) == segments
    total, largest = sum(sizes), max(sizes)
    for share in shares:
        shared = [each.bytes for each in share if whole or each.rank is not None]
        assert sum(shared) <= total / count + largest
    if not whole:
        assert [each.file for each in shares[0] if each.rank is None] == ["index.json", "state.json"]


@given(st.integers(1, 64), st.integers(1, 10**9), st.integers(0, 400), st.booleans())
def test_a_rank_of_the_same_topology_hashes_what_it_loads(count: int, size: int, small: int, whole: bool) -> None:
    if whole:
        size += 1000
        files = {file_name(index, count): whole_entry(size, "") for index in range(count)}
    else:
        files = files_of((size,) * count)
    segments = segments_of(files | {"state.json": whole_entry(small, "")})
    for index in range(count):
        first = dealt(segments, index, count)[0]
        assert first == segments[index]
