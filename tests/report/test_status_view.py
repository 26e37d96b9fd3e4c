"""What --watch shows on a terminal of some size."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from lrps.base.locks import path_lock
from lrps.costs.status_document import SlurmJob, status_document
from lrps.plan.status import plan_status
from lrps.report.status_view import STYLES, status_view
from lrps.report.tables.status_table import sparkline


@pytest.fixture
def document(make: Any, formulas: Any) -> Any:
    """ptfs-v2 runs; main was interrupted; ptfs-v1 is complete."""
    plan = make(hardware=formulas.PRICED)
    formulas.Run(plan).train(["main", "ptfs-v1", "ptfs-v2"], stop_at={"main": 850, "ptfs-v2": 500})
    with path_lock(plan.layout.path("ptfs-v2").directory):
        return status_document(plan, plan_status(plan))


def shown(document: Any, width: int, height: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    console.print(status_view(document, console))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def test_a_large_terminal_shows_everything(document: Any) -> None:
    lines = shown(document, 200, 50)
    assert all(any(path.name in line for line in lines) for path in document.paths)
    (running,) = (line for line in lines if line.startswith("ptfs-v2"))
    assert all(text in running for text in ("running", "━", "500/1,000", "▁", "█"))
    assert "EUR" in lines[1]
    assert "device time" in lines[1]
    assert lines[-1].startswith("1,850 of 9,400 steps")


@pytest.mark.parametrize("width", [200, 120, 80, 60])
@pytest.mark.parametrize("height", [50, 24, 12, 8])
def test_it_fits_and_keeps_what_matters(document: Any, width: int, height: int) -> None:
    first, *rest = document.paths
    warned = replace(document, paths=(replace(first, warning="no sign of life for 4m00s"), *rest))
    lines = shown(warned, width, height)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert "ptfs-v2" in text
    assert "running" in text
    assert "500/1,000" in text
    assert "no sign of life for 4m00s" in text


def test_what_is_left_out_is_said(document: Any) -> None:
    text = "\n".join(shown(document, 120, 9))
    assert "not shown: " in text
    assert "planned" in text
    assert "branch-v4" not in text
    assert "not shown" not in "\n".join(shown(document, 120, 50))


def test_every_state_is_a_word_and_has_a_colour(document: Any) -> None:
    states = [*STYLES, *("planned" for _ in document.paths[len(STYLES) :])]
    paths = tuple(replace(path, state=state) for path, state in zip(document.paths, states, strict=True))
    text = "\n".join(shown(replace(document, paths=paths), 200, 50))
    assert all(state in text for state in STYLES)


@given(st.lists(st.floats(-1e30, 1e30), max_size=40))
def test_a_sparkline_has_a_mark_for_every_value(values: list[float]) -> None:
    marks = sparkline(values)
    assert len(marks) == len(values)
    order = sorted(range(len(values)), key=values.__getitem__)
    assert sorted(marks) == [marks[i] for i in order], "higher is never drawn lower"


def test_sparkline() -> None:
    assert sparkline([3.0, 1.0, 2.0]) == "█▁▅"
    assert sparkline([2.0, 2.0]) == "▁▁"


def test_jobs_have_a_column_where_there_are_any(document: Any) -> None:
    assert "12 PENDING (Priority)" not in "\n".join(shown(document, 200, 50))
    first, *rest = document.paths
    queued = replace(document, paths=(replace(first, slurm=SlurmJob("12", "PENDING", "Priority", None)), *rest))
    assert "12 PENDING (Priority)" in "\n".join(shown(queued, 200, 50))
