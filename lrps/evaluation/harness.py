"""The only module that imports lm-eval, the Language Model Evaluation Harness: it checks tasks and scores a model.

Nothing is downloaded: data sets come from files, or from a cache that was filled before.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

from lrps.base.errors import ConfigError, EvaluationError
from lrps.config.evaluating import LmEval
from lrps.plan.scores import MetricResult
from lrps.plan.tasks import lm_eval_version

_OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")
_BOOTSTRAPS = 1000
"""Bootstrap samples for standard errors of metrics that are not means; lm-eval's default of 100,000 takes minutes."""


def stay_offline() -> None:
    """Forbid downloads by Hugging Face packages, unless the environment sets the variables.

    Call it before any of these packages is imported, because they read the variables then.
    """
    for variable in _OFFLINE:
        os.environ.setdefault(variable, "1")


class Harness:
    """lm-eval with the tasks of a config."""

    def __init__(self, settings: LmEval, batch_size: int) -> None:
        self._settings, self._batch_size = settings, batch_size

    def check(self) -> None:
        """Raise ConfigError if lm-eval is not installed or does not have a task of the config."""
        known = self._tasks.all_tasks
        for task in self._settings.tasks:
            if task not in known:
                near = get_close_matches(task, known, 1)
                hint = f"did you mean '{near[0]}'?" if near else "`lm-eval ls tasks` lists all"
                raise ConfigError(f"evaluation.lm_eval.tasks: lm-eval {lm_eval_version()} has no task {task}; {hint}")

    def score(self, model: Any, directory: Path, task: str) -> tuple[dict[str, MetricResult], int]:
        """Return the results of a task, group or tag by metric, and the number of examples.

        model: a transformers model loaded from `directory`, which has its tokenizer. A metric with a filter is named
        METRIC,FILTER, that of a subtask TASK/METRIC. Raises EvaluationError for any error of lm-eval or the task.
        """
        from lm_eval.evaluator import simple_evaluate
        from lm_eval.models.huggingface import HFLM

        folder, directory = self._settings.include_path, directory.absolute()
        try:
            with contextlib.chdir(folder) if folder else contextlib.nullcontext():
                found = simple_evaluate(
                    HFLM(pretrained=model, tokenizer=str(directory), batch_size=self._batch_size),
                    tasks=[task],
                    task_manager=self._tasks,
                    num_fewshot=self._settings.num_fewshot,
                    limit=self._settings.limit,
                    bootstrap_iters=_BOOTSTRAPS,
                    log_samples=False,
                )
        # A task may run its own code, data sets and metrics, which can raise anything.
        except Exception as error:
            raise EvaluationError(
                f"lm-eval failed on {task}: {type(error).__name__}: {error}. Nothing is downloaded: put the task's "
                "data below evaluation.lm_eval.include_path, or into the cache of Hugging Face data sets"
            ) from error
        assert found is not None, "one process is rank 0"
        return _results(found, task), sum(each["effective"] for each in found["n-samples"].values())

    @cached_property
    def _tasks(self) -> Any:
        """Task manager; without lm-eval's own 14,000 tasks, which take seconds to index, unless one of them is used."""
        lm_eval_version()
        from lm_eval.tasks import TaskManager

        if self._settings.include_path is None:
            return TaskManager()
        folder = str(self._settings.include_path.absolute())
        own = TaskManager(include_path=folder, include_defaults=False)
        return own if {*self._settings.tasks} <= {*own.all_subtasks} else TaskManager(include_path=folder)


def _results(found: Mapping[str, Any], task: str) -> dict[str, MetricResult]:
    """Return every finite number of lm-eval's tables as a result."""
    results = {}
    for each, table in (found["results"] | found.get("groups", {})).items():
        better = found["higher_is_better"].get(each, {})
        for key, value in table.items():
            metric, comma, filter_ = key.partition(",")
            if not comma or metric.endswith("_stderr") or not _finite(value):
                continue
            name = metric if filter_ == "none" else key
            stderr = table.get(f"{metric}_stderr,{filter_}")
            error = float(stderr) if _finite(stderr) else None
            result = MetricResult(float(value), error, better.get(metric) is not False)
            results[name if each == task else f"{each}/{name}"] = result
    if not results:
        raise EvaluationError(f"lm-eval has no number for {task}; give the task a metric")
    return results


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
