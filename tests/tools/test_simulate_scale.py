"""The simulation of a run on paper: against closed forms, and the books that it keeps."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrps.paths.interval import waste_share
from support.values import load_tool

TOOL = Path(__file__).parents[2] / "tools" / "simulate_scale.py"
NEVER = 1e30


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return load_tool("simulate_scale")


def group(tool: ModuleType, *segments: Any, mtbf: float = NEVER, interval: float = 100.0) -> Any:
    return tool.Group(list(segments), mtbf, interval)


def test_without_failures_it_is_arithmetic(tool: ModuleType) -> None:
    setting = tool.Setting(save_bytes=50.0, storage_bytes_per_second=10.0, stall_seconds=1.0, restart_seconds=7.0)
    run = tool.simulate([group(tool, tool.Segment("main", 1000.0))], setting, 0)
    (tally,) = (each.tally for each in run.groups)
    # Ten saves: nine in flight, and the last one that is waited for.
    assert run.now == pytest.approx(7 + 1000 + 10 * 1 + 5)
    assert (tally.saves, tally.failures, tally.repeated) == (10, 0, 0)
    assert tally.written_bytes == pytest.approx(500)
    assert tally.held == pytest.approx(run.now)


def test_a_storage_slower_than_the_interval_blocks_the_steps(tool: ModuleType) -> None:
    setting = tool.Setting(save_bytes=1500.0, storage_bytes_per_second=10.0, stall_seconds=0.0, restart_seconds=0.0)
    run = tool.simulate([group(tool, tool.Segment("main", 1000.0))], setting, 0)
    assert run.now == pytest.approx(100 + 10 * 150), "the first stretch, then one write after the other"


def test_two_writers_share_the_storage(tool: ModuleType) -> None:
    setting = tool.Setting(save_bytes=100.0, storage_bytes_per_second=10.0, stall_seconds=0.0, restart_seconds=0.0)
    alone = tool.simulate([group(tool, tool.Segment("a", 50.0))], setting, 0)
    both = tool.simulate([group(tool, tool.Segment("a", 50.0)), group(tool, tool.Segment("b", 50.0))], setting, 0)
    assert (alone.now, both.now) == (pytest.approx(60), pytest.approx(70))


def test_a_branch_waits_for_its_branch_point(tool: ModuleType) -> None:
    setting = tool.Setting(save_bytes=20.0, storage_bytes_per_second=10.0, stall_seconds=1.0, restart_seconds=3.0)
    main = group(tool, tool.Segment("main", 1000.0, pinned_after=250.0))
    branch = group(tool, tool.Segment("branch", 60.0, needs=("main", 250.0)))
    run = tool.simulate([main, branch], setting, 0)
    published = 3 + 250 + 3 * 1 + 2
    assert branch.tally.waiting == pytest.approx(published)
    assert run.released["branch"] == pytest.approx(published + 3 + 60 + 1 + 2)


@settings(deadline=None, max_examples=8)
@given(st.floats(20, 400), st.floats(0, 300), st.floats(1, 30))
def test_failures_waste_what_the_formula_expects(
    tool: ModuleType, interval: float, restart: float, stall: float
) -> None:
    mtbf, trained = 3600.0, 1_500_000.0
    setting = tool.Setting(1e-9, 1.0, stall, restart)
    run = tool.simulate([tool.Group([tool.Segment("main", trained)], mtbf, interval)], setting, 1)
    (tally,) = (each.tally for each in run.groups)
    assert tally.useful == pytest.approx(trained)
    assert tally.held == pytest.approx(run.now)
    expected = waste_share(interval, stall, restart, mtbf)
    assert 1 - tally.useful / tally.held == pytest.approx(expected, rel=0.2)


def test_as_a_person_types_it() -> None:
    words = ["--parameters", "7B", "--branch", "after", "--runs", "3", "--json"]
    done = subprocess.run([sys.executable, str(TOOL), *words], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)["found"]
    assert found["save_gb"] == 84
    assert found["training_hours"] == pytest.approx(6 * 7e9 * 1e12 / (1024 * 989e12 * 0.4) / 3600)
    assert found["main_done_hours"] > found["branch_released_hours"] > 0.85 * found["training_hours"]
