from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lrps.data.span import Span, rows_between


@pytest.fixture
def files(tmp_path) -> list[Path]:
    """Files of 10, 5,000 and 4,096 numbers of two bytes: number i of file k is 10,000 k + i."""
    files = [tmp_path / str(k) for k in range(3)]
    for k, (file, count) in enumerate(zip(files, (10, 5000, 4096), strict=True)):
        (10_000 * k + np.arange(count, dtype=np.uint16)).tofile(file)
    return files


def put(span: Span, number: int, path: Path) -> None:
    with open(path, "rb") as file:
        span.map(number, file, read_ahead=True)


def test_rows_of_any_files_are_gathered_in_one_call(files):
    span = Span([file.stat().st_size for file in files])
    for number in (2, 0, 1):
        put(span, number, files[number])
    rows = rows_between(span.start, span.stop, np.dtype(np.uint16), 4)
    places = (span.starts[[1, 0, 2, 1]] + [2 * 4996, 0, 2, 6] - span.start) // 2
    assert rows[places].tolist() == [
        [10_000 * k + i for i in range(at, at + 4)] for k, at in ((1, 4996), (0, 0), (2, 1), (1, 3))
    ]
    assert bytes(span.bytes_at(int(span.starts[2]), 4)) == np.array([20_000, 20_001], np.uint16).tobytes()
    with pytest.raises(ValueError, match="read-only"):
        rows[0] = 1


def test_a_view_may_reach_over_several_spans(files):
    spans = [Span([file.stat().st_size]) for file in files]
    for span, file in zip(spans, files, strict=True):
        put(span, 0, file)
    start = min(span.start for span in spans)
    rows = rows_between(start, max(span.stop for span in spans), np.dtype(np.uint16), 1)
    assert rows[[(span.start - start) // 2 for span in spans]].tolist() == [[0], [10_000], [20_000]]


def test_a_file_of_another_size_or_no_file_is_refused(files):
    span = Span([20, 20])
    with pytest.raises(ValueError, match="has 10000 bytes, 20 expected"):
        put(span, 0, files[1])
    put(span, 0, files[0])


def test_an_unmapped_file_may_be_mapped_again(files):
    span = Span([20])
    for _ in range(3):
        put(span, 0, files[0])
        assert span.bytes_at(span.start, 20)[2] == 1
        span.unmap(0)


def test_more_room_than_memory_costs_nothing_and_is_given_back(files):
    for _ in range(8):  # 32 TB each, one after the other: more than a process can address at a time
        span = Span([2**45, 20])
        put(span, 1, files[0])
        del span
        gc.collect()


def test_touching_what_is_not_mapped_ends_the_process():
    """The one rule of a span, as its docstring says it."""
    code = "from lrps.data.span import Span; s = Span([8192]); bytes(s.bytes_at(s.start, 1))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -11


def test_too_much_room_is_an_error_with_a_way_out():
    with pytest.raises(OSError, match="cannot map .* bytes .*ulimit -v"):
        Span([2**60])
