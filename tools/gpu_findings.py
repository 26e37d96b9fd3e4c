"""Findings of one step of tools/gpu_proof.py: claims that hold or not, targets, and figures. Must not import torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lrps.base.files import atomic_write_json

EMPTY: dict[str, dict[str, Any]] = {"claims": {}, "targets": {}, "figures": {}}


def read_findings(file: Path) -> dict[str, dict[str, Any]]:
    """Return the findings in a file; empty ones if there is no such file."""
    return json.loads(file.read_text()) if file.exists() else {kind: {} for kind in EMPTY}


class Findings:
    """Findings of a step, in a file that is written after each of them, so that a step that is ended leaves its part.

    Several processes of a step may add to one file, one after another.
    """

    def __init__(self, file: Path) -> None:
        """Continue the findings in `file`, if it exists."""
        self._file, self._found = file, read_findings(file)

    def claim(self, name: str, holds: bool, said: str) -> None:
        """Add a claim, which decides whether the step is proven. said: what was measured."""
        self._add("claims", name, {"holds": bool(holds), "said": said})

    def target(self, name: str, met: bool, said: str) -> None:
        """Add a target, usually a speed: it is reported, and decides nothing."""
        self._add("targets", name, {"met": bool(met), "said": said})

    def figure(self, name: str, value: Any) -> None:
        """Add a figure, any JSON value."""
        self._add("figures", name, value)

    def _add(self, kind: str, name: str, value: Any) -> None:
        self._found[kind][name] = value
        atomic_write_json(self._file, self._found)
