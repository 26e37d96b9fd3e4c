"""The evaluation tasks of a config: instruction pairs and lm-eval tasks, and a digest of all that makes each."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lrps.base.errors import ConfigError, DataError
from lrps.base.files import located, regular_file, sha256_file
from lrps.base.foreign_json import bounded_lines, parse_json
from lrps.config.evaluating import EvaluationConfig, LmEval, PairTask
from lrps.config.pair_template import PairText

LARGEST_PAIR = 2**24
"""Largest size of a line with an instruction pair, in bytes."""


def tasks_of(evaluation: EvaluationConfig) -> dict[str, str | None]:
    """Return task -> version that it belongs to; None for those of lm-eval."""
    harness = evaluation.lm_eval.tasks if evaluation.lm_eval else ()
    return {task.name: task.version for task in evaluation.tasks} | dict.fromkeys(harness)


def read_pairs(file: Path) -> tuple[PairText, ...]:
    """Return the pairs of a file in order; empty lines and other keys are ignored.

    Raises DataError with file and line for a line that is no pair, and for a file that cannot be read or has no pairs.
    """
    try:
        with open(file, "rb", opener=regular_file) as lines:
            numbered = enumerate(bounded_lines(lines, str(file), LARGEST_PAIR), 1)
            pairs = tuple(_pair(line.decode(), f"{file}:{number}") for number, line in numbered if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{located(file)}: cannot be read: {error}; give a .jsonl file in UTF-8 as `pairs`") from None
    if not pairs:
        raise DataError(f'{file}: holds no pair; give one object {{"input": .., "output": ..}} a line')
    return pairs


def _pair(line: str, where: str) -> PairText:
    try:
        values: Any = parse_json(line, where, expected=object)
    except ValueError as error:
        raise DataError(f"{error}; give one object a line") from None
    if isinstance(values, dict):
        texts = [values.get("input"), values.get("output"), values.get("task") or ""]
        match [text for text in texts if isinstance(text, str)]:
            case [given, wanted, task] if given.strip() and wanted.strip():
                return PairText(given, wanted, task)
    raise DataError(f"{where}: needs `input` and `output`, both texts that are not empty; `task`, if given, is a text")


def pair_digest(task: PairTask) -> str:
    """Return the digest of a task: SHA-256 of its file and its settings. Raises DataError as `read_pairs` does."""
    read_pairs(task.pairs)
    facts = {"pairs": sha256_file(task.pairs), **task.model_dump(include={"max_new_tokens", "template"})}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def task_digest(settings: LmEval, task: str) -> str:
    """Return the digest of a task of lm-eval: its name, settings, the files in `include_path`, and lm-eval's version.

    Raises ConfigError if lm-eval is not installed or there is no such folder.
    """
    facts = {
        "task": task,
        "files": {} if settings.include_path is None else _files(settings.include_path),
        "lm_eval": lm_eval_version(),
        **settings.model_dump(include={"limit", "num_fewshot"}),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _files(folder: Path) -> dict[str, str]:
    """Return name -> SHA-256 of all files in a folder, except those that Python caches."""
    if not folder.is_dir():
        raise ConfigError(f"evaluation.lm_eval.include_path: {located(folder)} is no folder; give that of your tasks")
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in files}


def lm_eval_version() -> str:
    """Return the installed version of lm-eval. Raises ConfigError if it is not installed."""
    try:
        return version("lm-eval")
    except PackageNotFoundError:
        raise ConfigError("evaluation.lm_eval needs lm-eval; run `pip install 'lrps[eval]'`") from None
