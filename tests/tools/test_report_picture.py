"""The pictures of the README: real ones of a real page, small enough, and nothing half done."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import pytest

from support.values import load_tool

TOOL = Path(__file__).parents[2] / "tools" / "report_picture.py"
report_picture = load_tool("report_picture")

needs_browser = pytest.mark.skipif(
    not any(map(shutil.which, report_picture.BROWSERS)), reason="chromium is not installed"
)


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """A report's directory with the figures that are copied."""
    directory = tmp_path / "report"
    (directory / "figures").mkdir(parents=True)
    (directory / "index.html").write_text("<h1>What the versions cost</h1>")
    for figure in report_picture.FIGURES.values():
        (directory / "figures" / figure).write_text(f"<svg>{figure}</svg>")
    return directory


@pytest.mark.slow
@needs_browser
def test_pictures_are_made(report: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "pictures"
    report_picture.main([str(report), "--out", str(out)])
    assert {file.name for file in out.iterdir()} == {"report.png", *report_picture.FIGURES}
    png = (out / "report.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    size = struct.unpack(">II", png[16:24])
    scaled = (report_picture.WIDTH * report_picture.SCALE, report_picture.HEIGHT * report_picture.SCALE)
    assert size == pytest.approx(scaled, abs=1)
    assert (out / "goodput.svg").read_text() == "<svg>goodput.svg</svg>"


@pytest.mark.slow
@needs_browser
def test_a_picture_that_is_too_large_is_refused(report: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_picture, "LARGEST_BYTES", 100)
    with pytest.raises(SystemExit, match="more than 100"):
        report_picture.main([str(report), "--out", str(tmp_path)])


def test_a_report_that_is_missing_or_unfinished_is_told(report: Path, tmp_path: Path) -> None:
    (report / "figures" / "goodput.svg").unlink()
    with pytest.raises(SystemExit, match=r"lacks goodput\.svg"):
        report_picture.main([str(report), "--out", str(tmp_path / "out")])
    (report / "index.html").unlink()
    with pytest.raises(SystemExit, match="`make demo` makes it"):
        report_picture.main([str(report), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_pictures_of_the_repository_are_those_of_the_tool() -> None:
    there = {file.name for file in (TOOL.parents[1] / "docs/pictures").iterdir()}
    assert there == {"report.png", *report_picture.FIGURES}
    assert (TOOL.parents[1] / "docs/pictures" / "report.png").stat().st_size <= report_picture.LARGEST_BYTES
