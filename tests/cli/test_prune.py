"""`lrps prune` as a person types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.preloaded import run_lrps as lrps
from support.saved_run import write_saved_run


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    return write_saved_run(tmp_path)


def test_prune(config_file: Path) -> None:
    dry = json.loads(lrps("prune", str(config_file), "--dry-run", "--json").stdout)
    assert (dry["dry_run"], [each["step"] for each in dry["checkpoints"] if each["goes"]]) == (True, [50])
    done = lrps("prune", str(config_file))
    assert done.returncode == 0, done.stderr
    assert "1 of 3 are gone" in done.stdout
    again = json.loads(lrps("prune", str(config_file), "--json").stdout)
    assert ([each["step"] for each in again["checkpoints"]], again["freed_bytes"]) == ([60, 70], 0)
    assert "branch_points/step-N" in lrps("prune", "--help").stdout
