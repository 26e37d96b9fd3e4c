"""Files of instruction pairs: what is read, and what is refused with its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.base.errors import DataError
from lrps.config.pair_template import PairText
from lrps.plan.tasks import read_pairs

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)


@given(st.lists(st.builds(PairText, TEXT, TEXT), min_size=1), st.booleans())
def test_pairs_come_back(tmp_path_factory: pytest.TempPathFactory, pairs: list[PairText], ascii_only: bool) -> None:
    file = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    lines = (
        json.dumps({"input": p.input, "output": p.output, "task": p.task, "id": 1}, ensure_ascii=ascii_only)
        for p in pairs
    )
    file.write_text("\n\n".join(lines), encoding="utf-8")
    assert read_pairs(file) == tuple(pairs), "whatever line ends a text has in it"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"input": "a"', "not JSON"),
        ('["a", "b"]', "needs `input` and `output`"),
        ('{"input": "a"}', "needs `input` and `output`"),
        ('{"input": "a", "output": " "}', "needs `input` and `output`"),
        ('{"input": 3, "output": "b"}', "needs `input` and `output`"),
    ],
)
def test_what_is_no_pair_is_told_with_its_line(tmp_path: Path, line: str, why: str) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text('{"input": "a", "output": "b"}\n\n' + line)
    with pytest.raises(DataError, match=f"pairs.jsonl:3: {why}"):
        read_pairs(file)


def test_files_without_pairs(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "latin.jsonl").write_bytes(b'{"input": "\xe9", "output": "b"}')
    for name, why in (("none", "cannot be read"), ("empty", "holds no pair"), ("latin", "cannot be read")):
        with pytest.raises(DataError, match=why):
            read_pairs(tmp_path / f"{name}.jsonl")
