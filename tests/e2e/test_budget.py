"""A budget on two ranks: training stops when it is reached, and ends bit for bit alike once it is raised."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from lrps.ledger.reader import read_ledger
from lrps.ledger.totals import total
from lrps.store.checkpoints import find
from lrps.store.layout import PathLayout
from support.preloaded import run_lrps as lrps

pytestmark = [pytest.mark.slow, pytest.mark.long]

STOPS = {"ptfs-v1": 20, "ptfs-v2": 40}
"""Last steps of the paths."""


def test_stopped_at_the_budget_refused_raised_and_finished(tiny_config: Path, tmp_path: Path) -> None:
    values = {**yaml.safe_load(tiny_config.read_text()), "runs": str(tmp_path / "runs"), "paradigms": {"ptfs": {}}}
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(values, sort_keys=False))
    run_dir, undisturbed = tmp_path / "runs" / "tiny", tmp_path / "undisturbed" / "tiny"
    small, large = ["-s", "budget.device_hours=0.000001"], ["-s", "budget.device_hours=1000"]

    stopped = lrps("run", file, *small)
    assert stopped.returncode == 76, stopped.stdout + stopped.stderr
    assert "ptfs-v1, ptfs-v2 not complete. Raise `budget` in the config" in stopped.stderr
    assert "[ERROR]" not in stopped.stdout + stopped.stderr
    first = total(read_ledger(run_dir / "ptfs-v1" / "ledger"))
    assert (first.state, first.attempts) == ("interrupted", 1)
    assert 0 < first.last_step < STOPS["ptfs-v1"], "it was stopped at the first sync"

    refused = lrps("run", file, *small)
    assert (refused.returncode, refused.stdout) == (76, "")
    assert "raise budget.device_hours to" in refused.stderr
    assert not (run_dir / "ptfs-v2").exists(), "nothing was started"

    raised = lrps("run", file, *large)
    assert raised.returncode == 0, raised.stdout + raised.stderr
    assert lrps("run", file, "-s", f"runs={undisturbed.parent}").returncode == 0
    for name, stop in STOPS.items():
        ours, theirs = (find(PathLayout(directory / name), stop) for directory in (run_dir, undisturbed))
        assert ours.manifest["files"] == theirs.manifest["files"], "bit for bit"
    assert total(read_ledger(run_dir / "ptfs-v1" / "ledger")).repeated_steps == 0
