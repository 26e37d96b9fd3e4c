"""The one speed of a run, and which paths make speeds unequal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.costs.answers.pace import SpeedComparison, pace_of, unequal_speeds
from lrps.costs.measured_cost import MeasuredCost, sum_measured


def cost(steps: int, seconds_a_step: float, processes: int = 1, lost: int = 0) -> MeasuredCost:
    """Return the cost of a path with nothing but steps in it. lost: number of steps that were trained twice."""
    productive, training = steps * seconds_a_step / 3600, (steps + lost) * seconds_a_step / 3600
    return MeasuredCost(
        attempts=1,
        device="cpu",
        processes=processes,
        total_steps=steps,
        repeated_steps=lost,
        total_tokens=steps,
        spent_tokens=steps + lost,
        unique_tokens=steps,
        replayed_tokens=0,
        rehearsal_tokens=0,
        repeated_tokens=lost,
        spent_flops=None,
        device_hours=training,
        training_hours=training,
        productive_hours=productive,
        device_hours_by_use={"training": productive, "starting": 0.0},
        goodput=productive / training,
        money=None,
        money_basis=None,
        energy_kwh=None,
    )


def paced(
    paths: dict[str, MeasuredCost], own: tuple[str, ...] = ("main",), hardware: float | None = None
) -> SpeedComparison:
    mean = sum_measured(paths[name] for name in own if name in paths)
    return pace_of(paths, "path-switching", own, mean, hardware)


def test_the_one_speed_is_the_mean_of_the_main_paradigm() -> None:
    pace = paced({"main": cost(300, 0.03), "branch": cost(100, 0.05), "ptfs": cost(900, 0.09)}, own=("main", "branch"))
    assert pace.device_seconds_per_step == pytest.approx(0.035)
    assert (pace.source, pace.paradigm) == ("measured", "path-switching")
    assert pace.lowest_device_seconds_per_step == pytest.approx(0.03)
    assert pace.highest_device_seconds_per_step == pytest.approx(0.05)
    assert pace.hours(3600) == pytest.approx(0.035)
    assert pace.spread == pytest.approx(3)
    assert pace.unequal
    assert list(pace.outliers) == ["ptfs", "branch"]
    assert unequal_speeds(pace).replace("\N{NO-BREAK SPACE}", " ") == (
        "Speeds differed 3.0-fold: a step took from 30.0 ms to 90.0 ms of device time"
    )


def test_steps_that_were_lost_make_no_path_slow() -> None:
    pace = paced({"main": cost(300, 0.03), "ptfs": cost(300, 0.03, lost=290)})
    assert not pace.unequal
    assert pace.paths["ptfs"].ratio == pytest.approx(1)


def test_without_the_main_paradigm_it_is_the_median_by_steps() -> None:
    pace = paced({"a": cost(100, 0.01), "b": cost(150, 0.02), "c": cost(200, 0.03)}, own=())
    assert pace.device_seconds_per_step == pytest.approx(0.02)
    assert (pace.source, pace.paradigm) == ("measured", None)


def test_before_training_it_is_that_of_the_hardware() -> None:
    assert paced({}, hardware=0.5) == SpeedComparison("hardware", None, 0.5, None, None, None, False, {})
    assert paced({}).device_seconds_per_step is None
    assert paced({}).hours(100) is None


def test_paths_near_each_other_are_equal_and_two_ends_are_named_otherwise() -> None:
    assert not paced({"main": cost(300, 0.0300), "ptfs": cost(300, 0.0357)}).unequal
    ends = {"main": cost(10_000, 0.030), "slow": cost(200, 0.033), "fast": cost(200, 0.0266)}
    pace = paced(ends, own=("main", "slow", "fast"))
    assert pace.unequal
    assert list(pace.outliers) == ["slow", "fast"], "both are within 1.2-fold of the mean, yet not of each other"


def test_short_paths_differ_by_chance() -> None:
    assert not paced({"main": cost(48, 0.042), "cpt": cost(48, 0.055)}).unequal
    assert paced({"main": cost(48, 0.042), "cpt": cost(48, 0.084)}).unequal
    assert not paced({"main": cost(48, 0.042), "cpt": cost(5, 0.420)}).unequal, "the first steps are slow anywhere"
    assert paced({"main": cost(48, 4.2), "cpt": cost(48, 5.5)}).unequal, "minutes are no chance"


@given(
    steps=st.lists(st.integers(1, 10_000), min_size=1, max_size=6),
    speed=st.floats(1e-3, 1e3),
    scale=st.floats(0.01, 100),
)
def test_one_speed_everywhere_is_never_unequal_and_scales(steps: list[int], speed: float, scale: float) -> None:
    for seconds in (speed, speed * scale):
        pace = paced({"main" if k == 0 else f"p{k}": cost(each, seconds) for k, each in enumerate(steps)})
        assert not pace.unequal
        assert pace.device_seconds_per_step == pytest.approx(seconds)
        assert all(path.ratio == pytest.approx(1) for path in pace.paths.values())


@given(st.dictionaries(st.text(min_size=1), st.tuples(st.integers(100, 9999), st.floats(0.01, 1)), min_size=2))
def test_unequal_speeds_always_name_outliers(paths: dict[str, tuple[int, float]]) -> None:
    names = list(paths)
    pace = paced({name: cost(*each) for name, each in paths.items()}, own=(names[0],))
    seconds = [each for _, each in paths.values()]
    assert pace.unequal == bool(pace.outliers)
    assert pace.spread == pytest.approx(max(seconds) / min(seconds))
