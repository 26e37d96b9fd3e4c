"""Time since the launch: what no wall clock changes on one machine, and what is possible between two."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from lrps.base.clock import launch_stamp, process_age, since_launch


@pytest.mark.parametrize("jump", [-1e9, -3600.0, -1.0, 0.0, 1.0, 3600.0, 1e9])
def test_on_one_machine_no_jump_of_the_clock_counts(monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    stamp, began, clock = launch_stamp(), time.monotonic(), time.time
    monkeypatch.setattr(time, "time", lambda: clock() + jump)
    found = since_launch(stamp)
    assert found.stated_seconds is None
    assert 0 <= found.seconds <= time.monotonic() - began + 0.1


@pytest.mark.parametrize("jump", [-1e9, -3600.0, -5.0, 3600.0, 1e9])
def test_an_impossible_time_by_another_machine_is_replaced_and_reported(jump: float) -> None:
    before = process_age()
    found = since_launch(f"{time.time() - before - 0.5 - jump:.3f},12.0,another-boot")
    assert found.stated_seconds == pytest.approx(before + 0.5 + jump, abs=5)
    assert before <= found.seconds <= process_age()


def test_a_possible_time_by_another_machine_is_taken() -> None:
    stated = process_age() + 20
    for stamp in (f"{time.time() - stated:.3f},12.0,another-boot", f"{time.time() - stated:.3f}"):
        found = since_launch(stamp)
        assert found.stated_seconds is None
        assert stated <= found.seconds < stated + 5


@pytest.mark.parametrize("stamp", [None, "", "yesterday", "nan", "inf,1,2", "1,x," + launch_stamp().rpartition(",")[2]])
def test_what_cannot_be_read_counts_from_the_start_of_the_process(stamp: str | None) -> None:
    before = process_age()
    assert before <= since_launch(stamp).seconds <= process_age()


def test_the_age_of_a_process_is_its_own() -> None:
    code = "import time; from lrps.base.clock import process_age; time.sleep(0.3); print(process_age())"
    began = time.monotonic()
    age = float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=os.environ).stdout)
    assert 0.3 <= age <= time.monotonic() - began + 0.1
