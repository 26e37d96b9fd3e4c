"""Where a run is, and what of the plan it has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lrps.costs.planned.plan_document import plan_document
from lrps.plan.status import done_steps
from lrps.report.run_directory import run_directory_line


def test_a_new_and_a_begun_run(make: Any, formulas: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make()
    where = f"Run directory: {tmp_path / 'runs' / 'small'}: "
    assert run_directory_line(plan_document(plan)) == f"{where}nothing of this plan is trained there yet."
    formulas.Run(plan).train(["main", "branch-v1", "ptfs-v1", "ptfs-v2"], stop_at={"main": 850, "ptfs-v2": 10})
    document = plan_document(plan, done_steps(plan))
    paths = len(plan.graph.paths)
    assert run_directory_line(document) == f"{where}continues, 2 of {paths} paths are trained, 2 more in part."
    monkeypatch.chdir(tmp_path)
    relative = replace(document, run_dir="data/../runs/small")
    assert run_directory_line(relative).startswith(where), "as an absolute path"
