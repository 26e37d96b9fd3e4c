"""A mixed version and one with epochs, by the commands of a user, in real process groups."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from support.mixed_versions import mixed_values

pytestmark = pytest.mark.slow


def lrps(*arguments: str | Path) -> str:
    command = [sys.executable, "-m", "lrps", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_from_text_to_the_report(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(mixed_values(tmp_path), sort_keys=False))
    assert "v1.code: 1 of 1 parts tokenized" in lrps("data", "build", config)
    assert "parts of the mixtures" in lrps("plan", config)
    lrps("run", config)
    audit = json.loads(lrps("data", "audit", config, "--rows", "--json"))
    assert audit["ok"]
    assert audit["tokens"] == audit["ledger_tokens"]
    assert {used["source"] for lineage in audit["lineages"] for used in lineage["used"]} == {"v1.web", "v1.code", "v2"}
    status = json.loads(lrps("status", config, "--json"))
    assert {path["state"] for path in status["paths"]} == {"complete"}, "no evaluation is missing"
    lrps("report", config)
    (page,) = (tmp_path / "runs" / "tiny" / "report").glob("*.html")
    assert "Parts of the mixtures" in page.read_text()
