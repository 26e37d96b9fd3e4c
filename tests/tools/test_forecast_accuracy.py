"""The accuracy tool forecasts each branch from what was known when it began, and from nothing later."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from lrps.forecast.branch import BranchPlan
from support.values import load_tool

tool = load_tool("forecast_accuracy")


def main_loss(step: float) -> float:
    return 3.0 + 12 * step**-0.5


def entry() -> dict[str, object]:
    """Branches of a fifth of all steps that follow the law, and one that it does not know."""
    branches = []
    for end in (5_000, 10_000, 15_000, 20_000):
        plan = BranchPlan(end * 4 // 5, end // 5, "linear")
        loss = main_loss(plan.main_step) - 0.06 * plan.gain_factor
        branches.append({"fork": plan.fork, "steps": plan.steps, "shape": "linear", "end": loss})
    branches.append({"fork": 16_000, "steps": 4_000, "shape": "1-sqrt", "end": 0.0})
    return {
        "peak": 1e-3,
        "warmup": 100,
        "main": [[t, main_loss(t)] for t in range(250, 20_001, 250)],
        "branches": branches,
    }


def test_history_is_what_was_finished_when_the_branch_began() -> None:
    data = entry()
    asked = list(tool.asked(data))
    assert [branch["fork"] for branch in asked] == [4_000, 8_000, 12_000, 16_000]
    assert [each["fork"] for each in tool.history(data, asked[2], same=True)] == [4_000, 8_000]


def test_the_table_has_the_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "branches.json"
    file.write_text(json.dumps({"law": entry()}))
    monkeypatch.setattr(sys, "argv", ["forecast_accuracy.py", str(file)])
    tool.main()
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert [row[3] for row in rows[:3]] == ["3", "2", "1"], "forecasts with 1, 2, 3 known branches of the same share"
    assert all(float(row[5]) < 0.001 and float(row[7]) == 1.0 for row in rows)
