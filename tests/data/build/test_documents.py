"""Every input format gives the same documents, however it is cut; whatever cannot be read is told with its place."""

from __future__ import annotations

import codecs
import gzip
import json
import random
import sys
import tempfile
import tracemalloc
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from lrps.base.errors import DataError
from lrps.data.build.documents import SUFFIXES, parts_of, read_documents

TEXTS = ["one", "", "zwei\nZeilen", "trois é", *(f"text {n} " * (n % 50) for n in range(600))]


def lines(texts: Iterable[str], key: str = "text") -> bytes:
    return "".join(json.dumps({"id": 1, key: text}, ensure_ascii=False) + "\n" for text in texts).encode()


def write(path: Path, texts: Iterable[str], key: str = "text") -> Path:
    """The texts in the format that the name says."""
    data = lines(texts, key)
    if path.name.endswith(".parquet"):
        pq.write_table(pa.table({"id": range(len(texts)), key: texts}), path, row_group_size=250)
    elif path.name.endswith(".gz"):
        path.write_bytes(gzip.compress(data[:5000]) + gzip.compress(data[5000:]))
    elif path.name.endswith(".zst"):
        path.write_bytes(zstandard.compress(data[:5000]) + zstandard.compress(data[5000:]))
    else:
        path.write_bytes(data)
    return path


def read(path: Path, text_key: str = "text", part_bytes: int = 1000) -> list[str]:
    return [text for part in parts_of([path], part_bytes) for text in read_documents(part, text_key)]


@pytest.mark.parametrize("suffix", SUFFIXES[1:])
def test_every_format_gives_the_documents_in_order(suffix: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"a{suffix}", TEXTS, "body")
    assert read(path, "body") == TEXTS


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_progress_adds_up_to_each_part(suffix: str, tmp_path: Path) -> None:
    parts = parts_of([write(tmp_path / f"a{suffix}", TEXTS * 5)], 100_000)
    for part in parts:
        seen: list[int] = []
        for _ in read_documents(part, progress=seen.append):
            pass
        assert sum(seen) == part.bytes > 0
        assert min(seen) >= 0
    if suffix != ".parquet":
        assert sum(part.bytes for part in parts) == (tmp_path / f"a{suffix}").stat().st_size


def test_a_text_file_is_one_document(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("zwei\r\nZeilen é\n".encode())
    assert read(tmp_path / "a.txt", part_bytes=3) == ["zwei\r\nZeilen é\n"]


@given(
    st.lists(st.text(st.characters(codec="utf-8"), max_size=40), max_size=30),
    st.integers(1, 200),
    st.booleans(),
    st.sampled_from(["\n", "\r\n", "\n\n", "\n \n"]),
)
def test_parts_hold_every_line_once_however_they_are_cut(texts, part_bytes, ended, newline):
    data = newline.join(json.dumps({"text": text}, ensure_ascii=False) for text in texts).encode()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.jsonl"
        path.write_bytes(data + newline.encode() * ended)
        parts = parts_of([path], part_bytes)
        assert [text for part in parts for text in read_documents(part)] == texts
        assert sum(part.bytes for part in parts) == path.stat().st_size
        # A file is cut in the same places whatever is beside it, and neighbours share a part as far as they fit.
        pieces = [piece for part in parts for piece in part.pieces]
        both = parts_of([path, path], part_bytes)
        assert [piece for part in both for piece in part.pieces] == pieces * 2
        assert all(part.bytes <= part_bytes for part in both)


def test_a_parquet_file_is_cut_between_row_groups(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", TEXTS)
    parts = parts_of([path], 1)
    assert [(piece.start, piece.stop) for part in parts for piece in part.pieces] == [(0, 1), (1, 2), (2, 3)]
    assert list(read_documents(parts[1])) == TEXTS[250:500]
    sizes = [part.bytes for part in parts]
    first, second = parts_of([path], sum(sizes[:2]))
    assert [(piece.start, piece.stop) for part in (first, second) for piece in part.pieces] == [(0, 2), (2, 3)]
    assert list(read_documents(first)) == TEXTS[:500]
    assert (str(first), str(second)) == (f"{path}, row groups 0 to 1", f"{path}, row groups 2 to 2")


def test_small_neighbours_are_one_part(tmp_path: Path) -> None:
    inputs = [write(tmp_path / f"a{n:02d}{suffix}", TEXTS[:9]) for n, suffix in enumerate(SUFFIXES * 3)]
    (part,) = parts_of(inputs)
    assert part.paths == tuple(inputs)
    assert part.bytes == sum(piece.bytes for one in inputs for alone in parts_of([one]) for piece in alone.pieces)
    assert str(part) == f"{inputs[0]} to {inputs[-1]}, row groups 0 to 0"
    alone = [text for path in inputs for text in read(path)]
    assert list(read_documents(part)) == alone
    for limit in (1, 300, 1000):
        parts = parts_of(inputs, limit)
        assert [text for part in parts for text in read_documents(part)] == alone
        assert all(part.bytes <= limit or len(part.pieces) == 1 for part in parts)


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst", ".txt"])
def test_a_byte_order_mark_is_no_text(suffix: str, tmp_path: Path) -> None:
    data = codecs.BOM_UTF8 + (b"text" if suffix == ".txt" else lines(["one", "two"]))
    pack = {".jsonl.gz": gzip.compress, ".jsonl.zst": zstandard.compress}.get(suffix, bytes)
    (tmp_path / f"a{suffix}").write_bytes(pack(data))
    assert read(tmp_path / f"a{suffix}", part_bytes=5) == (["text"] if suffix == ".txt" else ["one", "two"])


def test_null_is_an_empty_text(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": null}\n{"text": "x"}\n')
    pq.write_table(pa.table({"text": [None, "x"]}), tmp_path / "b.parquet")
    assert read(tmp_path / "a.jsonl") == read(tmp_path / "b.parquet") == ["", "x"]


def test_inputs_without_documents(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.parquet"):
        assert read(write(tmp_path / name, [])) == []


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".jsonl.zst"])
def test_compressed_files_are_streamed(suffix: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"a{suffix}", (random.Random(n).randbytes(5000).hex() for n in range(3000)))
    tracemalloc.start()
    (part,) = parts_of([path])
    assert sum(map(len, read_documents(part))) == 30_000_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000_000


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.jsonl", b'{"text": "x"}\n\nnot json\n', r"a\.jsonl, line 3: not JSON"),
        ("a.jsonl", b'{"text": "x"}\n{"body": "y"}\n', r'a\.jsonl, line 2: has no string under "text".*data\.text_key'),
        ("a.jsonl", b'["x"]\n', r'line 1: has no string under "text"'),
        ("a.jsonl", b'{"text": "\\ud800"}\n', "line 1: its text has a lone surrogate"),
        ("a.jsonl", b'\n{"text": ' + b"[" * 10**6 + b"\n", r"a\.jsonl, line 2: its JSON is nested too deeply"),
        ("a.jsonl", b'{"text": "\xff"}\n', "line 1: not UTF-8 at byte 10"),
        ("a.jsonl", lines(["x" * 20] * 100) + b"oops\n", r"a\.jsonl, line at byte 4200: not JSON"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "x"}\n{"text": 3}\n', mtime=0), r"a\.jsonl\.gz, line 2: has no string"),
        ("a.jsonl.gz", gzip.compress(lines(TEXTS), mtime=0)[:-9], "ends in the middle of its compressed data"),
        ("a.jsonl.gz", b"", "ends in the middle"),
        ("a.jsonl.gz", b"plain text", "damaged"),
        ("a.jsonl.gz", gzip.compress(b"{}", mtime=0)[:-5] + b"x" * 5, "damaged"),
        ("a.jsonl.zst", zstandard.compress(b'\n{"text": 3}\n'), r"a\.jsonl\.zst, line 2: has no string"),
        ("a.jsonl.zst", zstandard.compress(lines(TEXTS))[:-9], "ends in the middle of its compressed data"),
        ("a.jsonl.zst", zstandard.compress(b"\n") + zstandard.compress(lines(TEXTS))[:9], "ends in the middle"),
        ("a.jsonl.zst", b"", "ends in the middle"),
        ("a.jsonl.zst", b"plain text", "damaged"),
        ("a.parquet", b"plain text", r"a\.parquet: not a valid \.parquet file"),
        ("a.txt", b"abc\xff", r"a\.txt: not UTF-8 at byte 3"),
        ("a.csv", b"text", r"a\.csv: cannot read \.csv. Give \.txt, .* or \.parquet files"),
        ("a", b"text", r"a: cannot read a file without a suffix"),
    ],
)
def test_unreadable_documents_are_refused_with_their_place(name, data, message, tmp_path):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=message):
        read(tmp_path / name)


def test_a_parquet_file_needs_the_column_and_a_text_in_every_row(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", TEXTS, "body")
    with pytest.raises(DataError, match=r'a\.parquet: has no column "text", only id, body\. Set data\.text_key'):
        read(path)
    with pytest.raises(DataError, match=r'row 1: has no string in column "id"'):
        read(path, "id")
    pq.write_table(pa.table({"text": [b"x"] * 700}), path, row_group_size=300)
    with pytest.raises(DataError, match=r'a\.parquet, row 301: has no string in column "text"'):
        list(read_documents(parts_of([path], 1)[1]))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        with pytest.raises(DataError, match=rf"none{suffix}: cannot read this input"):
            parts_of([tmp_path / f"none{suffix}"])


@pytest.mark.parametrize(
    ("suffix", "module", "extra"),
    [(".parquet", "pyarrow.parquet", "parquet"), (".jsonl.zst", "zstandard", "zst")],
)
def test_a_missing_package_is_named(suffix, module, extra, tmp_path, monkeypatch):
    path = write(tmp_path / f"a{suffix}", TEXTS)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DataError, match=rf"is not installed: pip install 'lrps\[{extra}\]'"):
        read(path)
