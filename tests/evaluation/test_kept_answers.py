"""Answers of models on pairs: kept when they are scored, and made again where they were not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lrps.cli.app import app
from lrps.plan.scores import run_scores
from lrps.plan.tasks import read_pairs

pytest.importorskip("rouge_score", reason="rouge-score is not installed: pip install 'lrps[eval]'")


def test_answers_are_kept_written_and_shown(with_tasks: Callable[..., Any], tmp_path: Path) -> None:
    made = with_tasks()
    out = tmp_path / "answers.jsonl"
    command = ["score", str(made.file), "--paradigm", "cpt", "--answers"]
    ran = CliRunner().invoke(app, [*command, str(out)])
    assert ran.exit_code == 0, ran.output
    records = [json.loads(line) for line in out.read_text().splitlines()]
    pairs = {task.name: read_pairs(task.pairs) for task in made.plan.config.evaluation.tasks}
    assert [(r["path"], r["task"], r["input"], r["output"]) for r in records] == [
        (path, task, pair.input, pair.output) for path in ("cpt-v1", "cpt-v2") for task in pairs for pair in pairs[task]
    ]
    scores = {(each.path, each.task): each.results["rouge_l"].value for each in run_scores(made.plan)}
    for (path, task), value in scores.items():
        points = [r["rouge_l"] for r in records if (r["path"], r["task"]) == (path, task)]
        assert sum(points) / len(points) == pytest.approx(value)
    shutil.rmtree(made.plan.layout.answers)  # As of a run that was scored by an earlier version of lrps.
    again = tmp_path / "again.jsonl"
    assert CliRunner().invoke(app, [*command, str(again)]).exit_code == 0
    assert again.read_bytes() == out.read_bytes()
    assert len(run_scores(made.plan)) == len(scores), "a result is booked once"
    shown = CliRunner().invoke(app, [*command, "-"])
    assert f"cpt-v1 at step {records[0]['step']} on pairs-v1" in shown.output
    assert f"expected {records[0]['output']!r}" in shown.output
