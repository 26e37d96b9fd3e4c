"""Answers that models gave on instruction pairs, kept in the run directory: one file per model and task."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lrps.base.errors import DataError
from lrps.base.files import atomic_write_bytes
from lrps.base.foreign_json import parse_json
from lrps.evaluation.answers import Answer
from lrps.plan.plan import Plan


def answers_file(plan: Plan, checkpoint: str, form: str, task_sha256: str) -> Path:
    """Return the file of the answers of a model on a task. checkpoint, task_sha256: digests, which the name is of."""
    return plan.layout.answers / f"{checkpoint[:16]}-{form}-{task_sha256[:16]}.jsonl"


def write_answers(file: Path, about: dict[str, Any], answers: Sequence[Answer]) -> None:
    """Write answers atomically, one JSON object a line, each with the facts `about` their model and task."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps({**about, **each._asdict()}, ensure_ascii=False) + "\n" for each in answers)
    atomic_write_bytes(file, "".join(lines).encode())


def read_answers(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a file of answers. Raises DataError for a damaged one."""
    try:
        for number, line in enumerate(file.read_text(encoding="utf-8").split("\n"), 1):
            if line:
                yield parse_json(line, f"{file}:{number}", expected=dict)
    except (OSError, ValueError) as error:
        hint = "remove it, and `lrps score --answers` makes it again"
        raise DataError(f"{file}: cannot be read ({error}); {hint}") from None
