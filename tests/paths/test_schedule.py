"""Learning rates of schedules, as tables and as laws."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.config.extensions import DECAYS
from lrps.paths.schedule import (
    Decay,
    Schedule,
    SchedulePiece,
    constant,
    warmup_stable,
    warmup_stable_decay,
)


def wsd(shape: str, steps: int, final: float = 0.0, warmup: int = 10, stop: int = 100) -> Schedule:
    return warmup_stable_decay(0, stop, warmup=warmup, lr_start=0.0, peak=1.0, decay=Decay(shape, steps, final))


# Calculated by hand from the formulas of docs/method.md, section 1.6: peak 1, warm-up 10, decay over steps 60 to 100.
TABLES = {
    "linear": (0.0, {0: 0.1, 4: 0.5, 9: 1.0, 10: 1.0, 59: 1.0, 60: 1.0, 70: 0.75, 80: 0.5, 90: 0.25}),
    "cosine": (0.0, {60: 1.0, 80: 0.5, 70: (1 + math.sqrt(0.5)) / 2, 90: (1 - math.sqrt(0.5)) / 2}),
    "1-sqrt": (0.0, {60: 1.0, 70: 0.5, 80: 1 - math.sqrt(0.5)}),
    "exponential": (0.01, {60: 1.0, 80: 0.1, 90: 10**-1.5}),
    "inverse": (0.1, {60: 1.0, 80: 1 / (0.5 / 0.1 + 0.5), 90: 1 / (0.75 / 0.1 + 0.25)}),
    "multi-step": (0.0, {60: 1.0, 91: 1.0, 92: 0.316, 95: 0.316, 96: 0.1, 99: 0.1}),
}


def test_the_tables_cover_every_decay_of_the_config() -> None:
    assert set(TABLES) == set(DECAYS.builtin)


@pytest.mark.parametrize("shape", TABLES)
def test_decay_follows_its_table(shape: str) -> None:
    final, table = TABLES[shape]
    schedule = wsd(shape, 40, final)
    assert {step: schedule.lr_at(step) for step in table} == pytest.approx(table)


@pytest.mark.parametrize("shape", ["linear", "cosine", "1-sqrt"])
def test_a_final_rate_above_zero_is_the_floor_of_the_shape(shape: str) -> None:
    floor, plain = wsd(shape, 40, final=0.1), wsd(shape, 40)
    for step in range(60, 100):
        assert floor.lr_at(step) == pytest.approx(0.1 + 0.9 * plain.lr_at(step))


def test_whole_run_cosine_begins_after_the_warmup() -> None:
    schedule = wsd("cosine", 100)
    assert schedule.lr_at(10) == 1.0
    assert schedule.lr_at(55) == pytest.approx(0.5)
    assert schedule.lr_after(100) == 0.0


def test_whole_run_multi_step_falls_at_80_and_90_percent_of_the_run() -> None:
    schedule = wsd("multi-step", 100)
    assert [schedule.lr_at(s) for s in (9, 10, 79, 80, 89, 90, 99)] == pytest.approx([1, 1, 1, 0.316, 0.316, 0.1, 0.1])


def test_power_law_is_capped_by_the_peak() -> None:
    schedule = warmup_stable(peak=1.0, warmup=4, power_coefficient=10.0)
    assert schedule.lr_at(4) == 1.0
    assert schedule.lr_at(9999) == pytest.approx(10.0 * 10000**-0.51)


def test_rewarm_starts_from_the_given_rate() -> None:
    schedule = warmup_stable_decay(100, 200, warmup=10, lr_start=0.2, peak=1.0, decay=Decay("linear", 100, 0.0))
    assert [schedule.lr_at(s) for s in (100, 104, 109, 110, 155)] == pytest.approx([0.28, 0.6, 1.0, 1.0, 0.5])


def test_a_branch_is_the_straight_run_switched_at_its_fork() -> None:
    main, straight = warmup_stable(1.0, 10), wsd("cosine", 40)
    branch = warmup_stable_decay(60, 100, warmup=0, lr_start=0.0, peak=main.lr_at(60), decay=Decay("cosine", 40, 0.0))
    switched = [main.lr_at(s) for s in range(60)] + [branch.lr_at(s) for s in range(60, 100)]
    assert switched == [straight.lr_at(s) for s in range(100)]


@given(
    shape=st.sampled_from(DECAYS.builtin),
    stop=st.integers(1, 400),
    warmup=st.integers(0, 450),
    steps=st.integers(1, 500),
    start=st.integers(0, 1000),
)
def test_every_step_has_one_rate_between_final_and_peak(
    shape: str, stop: int, warmup: int, steps: int, start: int
) -> None:
    decay = Decay(shape, min(steps, stop), 0.01)
    schedule = warmup_stable_decay(start, start + stop, warmup=warmup, lr_start=0.0, peak=1.0, decay=decay)
    rates = [schedule.lr_at(step) for step in range(start, start + stop)]
    assert all(0 < rate <= 1 for rate in rates)
    after_warmup = rates[min(warmup, stop) :]
    assert all(a >= b for a, b in itertools.pairwise(after_warmup))
    if warmup < stop and shape != "multi-step":
        assert schedule.lr_after(start + stop) == pytest.approx(0.01)


def test_a_gap_is_refused() -> None:
    with pytest.raises(ValueError, match="gap"):
        Schedule((SchedulePiece("constant", 0, 5, 1.0, 1.0), SchedulePiece("constant", 6, 9, 1.0, 1.0)))


def test_a_step_outside_is_refused() -> None:
    with pytest.raises(ValueError, match="outside"):
        constant(5, 10, 1.0).lr_at(10)
