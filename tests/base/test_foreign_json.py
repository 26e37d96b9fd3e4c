"""JSON from anywhere becomes a value or one error that names its file."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.base.errors import USER_MISTAKE
from lrps.base.foreign_json import DEEPEST, JsonError, bounded_lines, parse_json, read_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), VALUES), st.booleans())
def test_json_is_read_as_the_library_reads_it(values: dict[str, Any], ascii_only: bool) -> None:
    text = json.dumps(values, ensure_ascii=ascii_only)
    assert parse_json(text, "x") == parse_json(text.encode(), "x") == values


@given(st.binary(max_size=40))
def test_any_bytes_give_an_object_or_one_error(content: bytes) -> None:
    try:
        found = parse_json(content, "x.json")
    except JsonError as error:
        found = error
    if isinstance(found, JsonError):
        assert str(found).startswith("x.json: ")
        assert found.exit_code == USER_MISTAKE
    else:
        assert isinstance(found, dict)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not JSON"),
        (b"[1]", "holds a list at its top"),
        (b"null", "holds null"),
        (b"{", "not JSON"),
        (b"\xff\xfe{}", "not JSON"),
        (b'{"a": "\\ud800"}', "half a surrogate pair"),
        (b'{"\\uDFFF": 1}', "half a surrogate pair"),
        (b'{"\xed\xa0\x80": 1}', "not JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not JSON"),
        (b'{"a":' * 300 + b"1" + b"}" * 300, "inside each other"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "inside each other"),
        (b'{"a": "' + b"x" * 2000 + b'"}', "more than 2,000 bytes"),
    ],
)
def test_what_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "given.json"
    file.write_bytes(content)
    with pytest.raises(JsonError, match=rf"given.json: .*{message}"):
        read_json(file, largest=2_000 if message.startswith("more") else 2**20)


@pytest.mark.parametrize(("depth", "good"), [(1, True), (DEEPEST, True), (DEEPEST + 1, False)])
def test_the_limit_of_depth(depth: int, good: bool) -> None:
    text = '{"a":' * (depth - 1) + "{}" + "}" * (depth - 1)
    if good:
        parse_json(text, "x")
    else:
        with pytest.raises(JsonError, match="inside each other"):
            parse_json(text, "x")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(JsonError, match="is no regular file"):
        read_json(tmp_path / "pipe.json")
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "gone.json")


def test_a_line_without_an_end_is_refused() -> None:
    assert list(bounded_lines(io.BytesIO(b"a\nbc\nd"), "x", 3)) == [b"a\n", b"bc\n", b"d"]
    with pytest.raises(JsonError, match="x:2: a line of more than 3 bytes"):
        list(bounded_lines(io.BytesIO(b"a\nbcde\n"), "x", 3))
