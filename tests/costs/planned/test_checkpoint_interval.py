"""How often a plan should save: what it goes by, and what it says."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from lrps.config.models import Config
from lrps.costs.planned.checkpoint_interval import CheckpointInterval, UnknownInterval, checkpoint_interval, measured
from lrps.ledger.records import FORMAT, Counters, Record
from lrps.ledger.writer import LedgerWriter
from lrps.paths.interval import advise, waste_share
from lrps.plan.plan import Plan, make_plan

HARDWARE = {"device": "cpu", "devices": 4, "peak_tflops": 1e-6, "mfu": 0.5, "mtbf_hours_per_device": 40}
MakeConfig = Callable[..., Config]


def plan(make_config: MakeConfig, tmp_path: Path, hardware: dict[str, Any], **changes: Any) -> Plan:
    return make_plan(make_config(runs=str(tmp_path), hardware=hardware, **changes))


def write_ledger(made: Plan, processes: int, saves: int, saving: float) -> None:
    with closing(LedgerWriter(made.layout.path("main").ledger)) as ledger:
        facts = {"format": FORMAT, "path": "main", "path_start": 0, "device": "cpu", "processes": processes}
        ledger.append("start", 0, Counters(), **facts)
        for step in range(1, saves + 1):
            ledger.append("checkpoint", step, Counters(), saved_step=step, bytes=1)
        spent = Counters(
            steps=10,
            training_seconds=30.0 * processes,
            saving_seconds=saving * processes,
            starting_seconds=70.0 * processes,
            allocated_seconds=200.0 * processes,
        )
        ledger.append("stop", saves, spent, outcome="complete")


def advised(made: Plan) -> CheckpointInterval:
    interval = checkpoint_interval(made)
    assert isinstance(interval, CheckpointInterval)
    return interval


def bases(interval: CheckpointInterval) -> set[str]:
    return {interval.stall_basis, interval.step_basis, interval.restart_basis}


def test_nothing_is_said_without_a_failure_rate(make_config: MakeConfig, tmp_path: Path) -> None:
    assert checkpoint_interval(plan(make_config, tmp_path, {"device": "cpu"})) is None
    assert checkpoint_interval(make_plan(make_config())) is None


def test_what_is_missing_is_named(make_config: MakeConfig, tmp_path: Path) -> None:
    unknown = {key: value for key, value in HARDWARE.items() if key != "peak_tflops"}
    missing = ("hardware.save_gb_per_second", "hardware.peak_tflops")
    assert checkpoint_interval(plan(make_config, tmp_path, unknown)) == UnknownInterval(4, 10.0, missing)


@pytest.mark.parametrize(("asynchronous", "share"), [(True, 0.1), (False, 1.0)])
def test_modelled_from_the_config(make_config: MakeConfig, tmp_path: Path, asynchronous: bool, share: float) -> None:
    hardware = {**HARDWARE, "save_gb_per_second": 1e-4}
    made = plan(make_config, tmp_path, hardware, checkpoint={"asynchronous": asynchronous, "every_steps": 10})
    interval = advised(made)
    write = made.costs.checkpoint_bytes / 1e5  # type: ignore[operator]
    step = made.costs.flops_per_token * 16 / 2e6  # type: ignore[operator]
    advice = advise(share * write, write, 36_000, step)
    assert interval.mtbf_hours == 10
    assert (interval.stall_seconds, interval.stall_basis) == (pytest.approx(share * write), "modelled")
    assert (interval.step_seconds, interval.restart_seconds) == (pytest.approx(step), pytest.approx(write))
    assert interval.every_steps == advice.steps
    assert interval.every_minutes == pytest.approx(advice.minutes)
    assert interval.waste_share == pytest.approx(advice.waste_share)
    assert interval.configured is not None
    assert interval.configured.waste_share == pytest.approx(waste_share(10 * step, share * write, write, 36_000))


def test_a_save_is_not_to_wait_for_the_one_before(make_config: MakeConfig, tmp_path: Path) -> None:
    made = plan(make_config, tmp_path, {**HARDWARE, "save_gb_per_second": 1e-9})
    interval = advised(made)
    write = made.costs.checkpoint_bytes  # type: ignore[assignment]
    assert interval.bounded_by_write
    assert interval.every_minutes * 60 == pytest.approx(write)
    assert interval.every_steps * interval.step_seconds >= write  # type: ignore[operator]


def test_ledgers_on_as_many_devices_come_first(make_config: MakeConfig, tmp_path: Path) -> None:
    made = plan(make_config, tmp_path, {**HARDWARE, "save_gb_per_second": 1e-4})
    write_ledger(made, processes=4, saves=5, saving=10.0)
    interval = advised(made)
    figures = (interval.stall_seconds, interval.step_seconds, interval.restart_seconds)
    assert figures == (2.0, 3.0, 70.0)
    assert bases(interval) == {"measured"}
    assert interval.every_steps == advise(2.0, 70.0, 36_000, 3.0).steps


def test_ledgers_on_other_devices_say_nothing(make_config: MakeConfig, tmp_path: Path) -> None:
    made = plan(make_config, tmp_path, {**HARDWARE, "save_gb_per_second": 1e-4})
    write_ledger(made, processes=2, saves=5, saving=10.0)
    interval = advised(made)
    assert bases(interval) == {"modelled"}


def test_attempts_are_told_apart() -> None:
    def attempt(processes: int, seconds: float) -> list[Record]:
        spent = Counters(steps=2, training_seconds=seconds, starting_seconds=seconds)
        facts = {"processes": processes}
        return [
            Record("start", 0, "", Counters(), facts, ""),
            Record("checkpoint", 1, "", spent, {}, ""),
            Record("stop", 2, "", spent, {}, ""),
        ]

    found = measured([[*attempt(2, 8.0), *attempt(4, 100.0)], attempt(2, 4.0)], devices=2)
    assert (found.saves, found.steps, found.stepping, found.longest_start) == (2, 4, 6.0, 4.0)
