"""The one door to lm-eval, the Language Model Evaluation Harness: names of tasks are checked, then a model is scored.

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
from lrps.plan.scores import Result
from lrps.plan.tasks import lm_eval_version

_OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")
_BOOTSTRAPS = 1000
"""For standard errors of what is no mean over examples; lm-eval's own 100,000 take minutes."""


def stay_offline() -> None:
    """Forbid downloads, unless the environment says otherwise. Must come before any Hugging Face package is imported,
    which reads it then."""
    for variable in _OFFLINE:
        os.environ.setdefault(variable, "1")


class Harness:
    """lm-eval with the tasks of a config."""

    def __init__(self, settings: LmEval, batch_size: int) -> None:
        self._settings, self._batch_size = settings, batch_size

    def check(self) -> None:
        """Raises ConfigError if lm-eval or a task that is named is not there."""
        known = self._tasks.all_tasks
        for task in self._settings.tasks:
            if task not in known:
                near = get_close_matches(task, known, 1)
                hint = f"did you mean '{near[0]}'?" if near else "`lm-eval ls tasks` shows them"
                raise ConfigError(f"evaluation.lm_eval.tasks: lm-eval {lm_eval_version()} has no task {task}; {hint}")

    def score(self, model: Any, directory: Path, task: str) -> tuple[dict[str, Result], int]:
        """The numbers of a task, group or tag, and the examples behind them.

        model: of transformers, loaded from the directory, which has its tokenizer. A metric of a filter is
        METRIC,FILTER; one of another task than the named one is TASK/METRIC. Raises EvaluationError for whatever goes
        wrong inside.
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
        # A task's own code runs in there, and whatever data sets and metrics it takes.
        except Exception as error:
            raise EvaluationError(
                f"lm-eval failed on {task}: {type(error).__name__}: {error}. Nothing is downloaded: a task's data lies "
                "below evaluation.lm_eval.include_path, or in the cache of Hugging Face data sets before this begins"
            ) from error
        assert found is not None, "one process is rank 0"
        return _results(found, task), sum(each["effective"] for each in found["n-samples"].values())

    @cached_property
    def _tasks(self) -> Any:
        """The tasks of the folder if they are all that is wanted: lm-eval's own 14,000 take seconds to look through."""
        lm_eval_version()
        from lm_eval.tasks import TaskManager

        if self._settings.include_path is None:
            return TaskManager()
        folder = str(self._settings.include_path.absolute())
        own = TaskManager(include_path=folder, include_defaults=False)
        return own if {*self._settings.tasks} <= {*own.all_subtasks} else TaskManager(include_path=folder)


def _results(found: Mapping[str, Any], task: str) -> dict[str, Result]:
    """Every finite number of lm-eval's tables."""
    results = {}
    for each, table in (found["results"] | found.get("groups", {})).items():
        better = found["higher_is_better"].get(each, {})
        for key, value in table.items():
            metric, comma, filter_ = key.partition(",")
            if not comma or metric.endswith("_stderr") or not _finite(value):
                continue
            name = metric if filter_ == "none" else key
            stderr = table.get(f"{metric}_stderr,{filter_}")
            result = Result(float(value), float(stderr) if _finite(stderr) else None, better.get(metric) is not False)
            results[name if each == task else f"{each}/{name}"] = result
    if not results:
        raise EvaluationError(f"lm-eval has no number for {task}; give the task a metric")
    return results


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
