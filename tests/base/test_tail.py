"""Every line is read once, however a file grows."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from lrps.base import tail as tail_module
from lrps.base.tail import Tail


@given(lines=st.lists(st.binary(max_size=9).map(lambda b: b.replace(b"\n", b"")), max_size=12), data=st.data())
def test_the_looks_at_a_growing_file_add_up_to_it(lines: list[bytes], data: st.DataObject) -> None:
    content = b"\n".join(lines)
    cuts = data.draw(st.lists(st.integers(0, len(content)), max_size=6).map(sorted))
    found, tail = [], Tail()
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "lines"
        for begin, end in zip([0, *cuts], [*cuts, len(content)], strict=True):
            with open(file, "ab") as writer:
                writer.write(content[begin:end])
            tail, new, restarted = tail.read(file)
            assert not restarted
            found += new
    assert found == [line + b"\n" for line in content.split(b"\n")[:-1]], "the line without an end is not there yet"


def test_a_file_that_comes_goes_and_comes_again(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    tail, lines, restarted = Tail().read(file)
    assert (tail, lines, restarted) == (Tail(), [], False)
    file.write_bytes(b"one\n")
    tail, lines, restarted = tail.read(file)
    assert (lines, restarted) == ([b"one\n"], False)
    file.unlink()
    tail, lines, restarted = tail.read(file)
    assert (tail, lines, restarted) == (Tail(), [], True)


def test_a_replaced_or_shorter_file_is_read_from_its_beginning(tmp_path: Path) -> None:
    file, other = tmp_path / "lines", tmp_path / "other"
    file.write_bytes(b"one\ntwo\n")
    tail, _, _ = Tail().read(file)
    other.write_bytes(b"uno\ndue\ntre\n")
    other.rename(file)
    tail, lines, restarted = tail.read(file)
    assert (lines, restarted) == ([b"uno\n", b"due\n", b"tre\n"], True)
    file.write_bytes(b"un\n")
    assert tail.read(file)[1:] == ([b"un\n"], True)


def test_of_a_long_file_only_the_end_is_read(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    file.write_bytes(b"".join(b"%04d\n" % number for number in range(1000)))
    tail, lines, _ = Tail().read(file, newest_bytes=12)
    assert lines == [b"0998\n", b"0999\n"], "without the line that was cut"
    with open(file, "ab") as writer:
        writer.write(b"1000\n")
    assert tail.read(file, newest_bytes=12).lines == [b"1000\n"]


def test_a_big_file_is_read_in_pieces(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(tail_module, "PIECE_BYTES", 7)
    file = tmp_path / "lines"
    file.write_bytes(b"one\ntwo\nthree\n")
    tail, lines, _ = Tail().read(file)
    assert lines == [b"one\n"]
    tail, more, _ = tail.read(file)
    tail, most, _ = tail.read(file)
    assert more + most == [b"two\n", b"three\n"]
