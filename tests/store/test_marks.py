"""Marks distinguish beginnings of equal names."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lrps.store.layout import RunLayout
from lrps.store.marks import mark_run, read_mark, with_mark


def test_a_run_keeps_its_mark_and_a_fresh_start_gets_another(tmp_path: Path) -> None:
    layout = RunLayout(tmp_path / "runs" / "demo")
    mark_run(layout)
    first = read_mark(layout.run_json)
    mark_run(layout)
    assert first is not None
    assert read_mark(layout.run_json) == first
    shutil.rmtree(layout.run_dir)
    mark_run(layout)
    assert read_mark(layout.run_json) not in (None, first)


def test_a_run_begun_without_a_mark_gets_none(tmp_path: Path) -> None:
    layout = RunLayout(tmp_path)
    layout.path("main").directory.mkdir()
    layout.path("main").path_json.write_text("{}")
    mark_run(layout)
    assert not layout.run_json.exists()


@pytest.mark.parametrize("content", [None, b"", b"\xff", b"[1]", b"{}", b'{"mark": 7}'])
def test_what_has_no_mark_is_named_alone(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "run.json"
    if content is not None:
        file.write_bytes(content)
    assert with_mark("demo", read_mark(file)) == "demo"


def test_a_mark_is_behind_the_name(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"mark": "5eed0001"}')
    assert with_mark("demo", read_mark(tmp_path / "run.json")) == "demo-5eed0001"
