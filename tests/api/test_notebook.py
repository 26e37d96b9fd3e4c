"""Tests of docs/example.ipynb: its cells run one after the other, and each value that a cell shows draws itself."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest


def shown_values(notebook: Path) -> list[Any]:
    """Execute the cells of a notebook in one namespace, and return the value of the last expression of each."""
    names: dict[str, Any] = {"__name__": "__main__"}
    values = []
    for cell in json.loads(notebook.read_text())["cells"]:
        if cell["cell_type"] != "code":
            continue
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, str(notebook), "exec"), names)
        if isinstance(last, ast.Expr):
            values.append(eval(compile(ast.Expression(last.value), str(notebook), "eval"), names))
    return values


@pytest.mark.slow
def test_the_notebook_runs(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(repository))
    drawn = [value._repr_html_() for value in shown_values(repository / "docs" / "example.ipynb") if _draws(value)]
    assert len(drawn) >= 4
    assert sum("<svg" in html for html in drawn) >= 3


def _draws(value: Any) -> bool:
    return hasattr(value, "_repr_html_")


def test_the_notebook_is_stored_without_outputs(repository: Path) -> None:
    cells = json.loads((repository / "docs" / "example.ipynb").read_text())["cells"]
    assert [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")] == []
