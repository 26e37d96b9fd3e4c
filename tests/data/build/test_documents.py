"""Every input format gives the same documents, however it is cut; whatever cannot be read is told with its place."""

from __future__ import annotations

import bz2
import codecs
import gzip
import json
import lzma
import random
import re
import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from lrps.base.errors import DataError
from lrps.config.text import BadDocuments
from lrps.data.build import json_reader
from lrps.data.build.bad_document import BadDocument, readable_documents
from lrps.data.build.documents import Reading, parts_of, read_documents
from lrps.data.build.tally import Tally

PACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": lambda data: gzip.compress(data, mtime=0),
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.compress,
    ".zstd": zstandard.compress,
}
SUFFIXES = (
    ".txt",
    *(file_format + suffix for file_format in (".jsonl", ".ndjson", ".json") for suffix in ("", *PACK)),
    ".parquet",
)
TEXTS = ["one", "", "zwei\nZeilen", "trois é", *(f"text {n} " * (n % 50) for n in range(600))]


def lines(texts: Iterable[str], key: str = "text") -> bytes:
    return "".join(json.dumps({"id": 1, key: text}, ensure_ascii=False) + "\n" for text in texts).encode()


def write(path: Path, texts: Iterable[str], key: str = "text") -> Path:
    """The texts in the format that the name says."""
    data = lines(texts, key)
    if path.name.endswith(".parquet"):
        pq.write_table(pa.table({"id": range(len(texts)), key: texts}), path, row_group_size=250)
    elif pack := PACK.get(path.suffix):
        path.write_bytes(pack(data[:5000]) + pack(data[5000:]))
    else:
        path.write_bytes(data)
    return path


def read(path: Path, text_key: str = "text", part_bytes: int = 1000) -> list[str]:
    """All documents; one that cannot be read is refused."""
    documents = (text for part in parts_of([path], part_bytes) for text in read_documents(part, Reading(text_key)))
    return list(readable_documents(documents, BadDocuments(), Tally()))


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
    inputs = inputs[: len(SUFFIXES)]
    (part,) = parts_of(inputs)
    alone = [text for path in inputs for text in read(path)]
    assert list(read_documents(part)) == alone
    for limit in (1, 300, 1000):
        parts = parts_of(inputs, limit)
        assert [text for part in parts for text in read_documents(part)] == alone
        assert all(part.bytes <= limit or len(part.pieces) == 1 for part in parts)


@pytest.mark.parametrize("suffix", [".txt", ".txt.gz", ".jsonl", ".jsonl.gz", ".json", ".json.bz2"])
def test_a_byte_order_mark_is_no_text(suffix: str, tmp_path: Path) -> None:
    marked = [codecs.BOM_UTF8 + line for line in lines(["one", "two"]).splitlines(keepends=True)]
    data = codecs.BOM_UTF8 + b"text" if ".txt" in suffix else b"".join(marked)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(PACK.get(path.suffix, bytes)(data))
    assert read(path, part_bytes=5) == (["text"] if ".txt" in suffix else ["one", "two"])


def test_null_is_an_empty_text(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": null}\n{"text": "x"}\n')
    pq.write_table(pa.table({"text": [None, "x"]}), tmp_path / "b.parquet")
    assert read(tmp_path / "a.jsonl") == read(tmp_path / "b.parquet") == ["", "x"]


def test_inputs_without_documents(tmp_path: Path) -> None:
    for suffix in SUFFIXES[1:]:
        assert read(write(tmp_path / f"a{suffix}", [])) == []


def array(texts: Iterable[str], **how: object) -> bytes:
    return json.dumps([{"text": text} for text in texts], **how).encode()


@given(
    st.lists(st.text(st.characters(codec="utf-8"), max_size=40), max_size=30),
    st.integers(1, 50),
    st.sampled_from([{}, {"indent": 2}, {"ensure_ascii": False}]),
    st.booleans(),
)
def test_an_array_is_read_in_pieces_of_any_size(texts, characters, how, marked):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_reader, "PIECE_CHARACTERS", characters)
        path = Path(folder) / "a.json"
        path.write_bytes(codecs.BOM_UTF8 * marked + array(texts, **how) + b" \n" * marked)
        assert read(path) == texts


def test_a_text_is_cut_into_lines_and_paragraphs(tmp_path: Path) -> None:
    def documents(how: str, data: bytes, suffix: str = ".txt") -> list[str]:
        path = tmp_path / f"a{suffix}"
        path.write_bytes(PACK.get(path.suffix, bytes)(data))
        return [text for part in parts_of([path], 5, how) for text in read_documents(part, Reading(documents=how))]

    data = codecs.BOM_UTF8 + b"one\r\n  two\r\n\r\n \t\nthree\nfour"
    assert documents("line", data) == documents("line", data, ".txt.gz") == ["one", "  two", "three", "four"]
    assert documents("blank-line", data) == documents("blank-line", data, ".txt.xz") == ["one\r\n  two", "three\nfour"]
    assert documents("file", data) == [data.decode("utf-8-sig")]
    assert documents("line", b"") == documents("blank-line", b"\n\n \n") == []


@given(
    st.lists(st.sampled_from(["a", "bb", "", " ", "ccc d"]), max_size=30),
    st.integers(1, 20),
    st.booleans(),
)
def test_paragraphs_and_lines_are_the_same_however_a_file_is_cut(lines_of, part_bytes, ended):
    text = "\n".join(lines_of) + "\n" * ended
    paragraphs = [each.strip("\n") for each in re.split(r"\n[ \n]*\n", "\n" + text + "\n") if each.strip()]
    paragraphs = [re.sub(r"^( *\n)+|(\n *)+$", "", each) for each in paragraphs]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.txt"
        path.write_text(text)
        for how, wanted in (("line", [each for each in lines_of if each.strip()]), ("blank-line", paragraphs)):
            parts = parts_of([path], part_bytes, how)
            assert [each for part in parts for each in read_documents(part, Reading(documents=how))] == wanted
            assert sum(part.bytes for part in parts) == path.stat().st_size


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".jsonl.zst", ".json"])
def test_large_files_are_streamed(suffix: str, tmp_path: Path) -> None:
    texts = (random.Random(n).randbytes(5000).hex() for n in range(1500))
    path = tmp_path / f"a{suffix}"
    path.write_bytes(array(texts)) if suffix == ".json" else write(path, texts)
    tracemalloc.start()
    (part,) = parts_of([path])
    assert sum(map(len, read_documents(part))) == 15_000_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8_000_000


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
        ("a.txt.bz2", bz2.compress(b"text " * 999)[:-9], "ends in the middle"),
        ("a.txt.bz2", b"plain text", "damaged"),
        ("a.jsonl.xz", lzma.compress(lines(TEXTS))[:-9], "ends in the middle"),
        ("a.jsonl.xz", b"plain text", "damaged"),
        ("a.txt.gz", gzip.compress(b"text", mtime=0) + b"more of it", "damaged"),
        ("a.txt.bz2", bz2.compress(b"text") + b"more of it", "damaged"),
        ("a.txt.bz2", bz2.compress(b"text") + bz2.compress(b"more")[1:], "damaged"),
        ("a.txt.xz", lzma.compress(b"text") + b"more of it", "damaged"),
        ("a.txt.zst", zstandard.compress(b"text") + b"more of it", "damaged"),
        ("a.json", b'{"text": "x"}\n{"body": "y"}\n', r'a\.json, line 2: has no string under "text"'),
        ("a.json", b'[{"text": "x"}, {"text": 3}]', r'a\.json, element 2: has no string under "text"'),
        ("a.json", b'[{"text": "x"} {"text": "y"}]', r"a\.json: not JSON from character 15 on \('\]' expected"),
        ("a.json", b'[{"text": "x"}, {"te', r"a\.json: not JSON from character 16 on \(Unterminated string"),
        ("a.json", b'[{"text": "x"}] []', "more follows after the end of the array"),
        ("a.json", b'[{"text": "\xff"}]', "its array is not UTF-8"),
        ("a.json", b"[" * 10**5, "its JSON is nested too deeply"),
        ("a.parquet.gz", b"text", r"a\.parquet\.gz: cannot read \.parquet\.gz"),
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
        list(readable_documents(read_documents(parts_of([path], 1)[1]), BadDocuments(), Tally()))


def test_a_row_of_a_parquet_file_that_is_not_utf8_is_one_bad_document(tmp_path: Path) -> None:
    column = pa.array([b"a", b"\xff", b"c"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": column}), tmp_path / "a.parquet")
    (part,) = parts_of([tmp_path / "a.parquet"])
    first, bad, last = read_documents(part)
    assert (first, last) == ("a", "c")
    assert isinstance(bad, BadDocument)
    assert (bad.kind, bad.where) == ("invalid-utf-8", f"{tmp_path / 'a.parquet'}, row 2")


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
