"""A finished run of two versions with tasks: one set of pairs a version, and a quiz for lm-eval."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from lrps.config.loader import load_config
from lrps.plan.plan import Plan, make_plan
from support.released_run import write_released_run

QUIZ = """
task: words_quiz
dataset_path: json
dataset_kwargs: {data_files: {test: quiz.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: answer
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""


@pytest.fixture(scope="session")
def task_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pairs of two versions, and `quiz` with a task of lm-eval."""
    folder = tmp_path_factory.mktemp("tasks")
    for k in (1, 2):
        lines = [json.dumps({"input": f"v{k} step {i}", "output": "switch rate decay"}) for i in range(3)]
        (folder / f"pairs-v{k}.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "quiz").mkdir()
    (folder / "quiz" / "quiz.yaml").write_text(QUIZ)
    questions = [
        {"question": "path", "choices": ["a", "b"], "answer": 0},
        {"question": "main", "choices": ["c", "d"], "answer": 1},
    ]
    (folder / "quiz" / "quiz.jsonl").write_text("".join(json.dumps(question) + "\n" for question in questions))
    return folder


@pytest.fixture(scope="session")
def released(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The config file of a finished plan without tasks; its run is beside it. Tests copy it."""
    file = tmp_path_factory.mktemp("scored") / "config.yaml"
    write_released_run(tiny_config, file)
    return file


@pytest.fixture
def with_tasks(released: Path, task_files: Path, tmp_path: Path) -> Callable[..., Any]:
    """with_tasks(**evaluation) -> (config file, plan) of a copy of the run; by default the pairs of both versions."""
    shutil.copytree(released.parent / "runs", tmp_path / "runs")

    def make(**evaluation: Any) -> Any:
        tasks = [
            {"name": f"pairs-v{k}", "version": f"v{k}", "pairs": str(task_files / f"pairs-v{k}.jsonl")} for k in (1, 2)
        ]
        values = yaml.safe_load(released.read_text())
        small = [{**task, "max_new_tokens": 4, "template": "{input}:"} for task in tasks]
        values |= {"runs": str(tmp_path / "runs"), "evaluation": {"tasks": small, **evaluation}}
        file = tmp_path / "config.yaml"
        file.write_text(yaml.safe_dump(values, sort_keys=False))
        plan: Plan = make_plan(load_config(file))
        return SimpleNamespace(file=file, plan=plan)

    return make
