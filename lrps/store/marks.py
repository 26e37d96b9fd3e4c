"""Marks of runs and paths: random names of their beginnings, which distinguish runs of trackers with equal names.

A tracker's server has the runs of many people and of deleted run directories. The plan's name and the path's name are
not unique there, so the names and ids that trackers get contain these marks.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lrps.base.files import write_once
from lrps.base.foreign_json import read_json
from lrps.store.layout import RunLayout

FORMAT = "lrps-run/1"
MARK = "mark"
"""Key of path.json and run.json with the mark. A run or path begun by a version of lrps without marks has none."""


def new_mark() -> str:
    """Return a new mark: 8 hexadecimal digits."""
    return secrets.token_hex(4)


def with_mark(name: str, mark: str | None) -> str:
    """Return a name with the mark behind it; the name alone for a run or path without a mark."""
    return name if mark is None else f"{name}-{mark}"


def mark_run(layout: RunLayout) -> None:
    """Give a run its mark before its first path begins; one that has a path or a mark keeps what it has."""
    if not layout.run_json.exists() and not any(layout.run_dir.glob("*/path.json")):
        layout.run_dir.mkdir(parents=True, exist_ok=True)
        write_once(layout.run_json, json.dumps({"format": FORMAT, MARK: new_mark()}) + "\n")


def read_mark(file: Path) -> str | None:
    """Return the mark in a path.json or run.json; None if the file is missing, cannot be read or has none."""
    try:
        values: Any = read_json(file)
    except (OSError, ValueError):
        return None
    mark = values.get(MARK) if isinstance(values, Mapping) else None
    return mark if isinstance(mark, str) else None
