"""The forecast of a branch: exact on data that follows its law, within its band under noise, and refused elsewhere."""

from __future__ import annotations

import inspect
import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.forecast import Branch, Forecast, ForecastRefused, forecast_branch
from lrps.forecast.band import half_width
from lrps.forecast.branch import BranchPlan
from lrps.forecast.decay_integrals import decay_integrals
from lrps.forecast.drift import drift_step, earlier_drift_step
from lrps.forecast.main_curve import fit_main_curve, points_to_fit

LIMIT, SCALE, EXPONENT, GAIN = 2.8, 12.0, 0.5, 0.06


def main_loss(step: float) -> float:
    return LIMIT + SCALE * step**-EXPONENT


def main_points(stop: int, every: int = 500, noise: float = 0.0, seed: int = 0) -> list[tuple[int, float]]:
    rng = np.random.default_rng(seed)
    return [(t, main_loss(t) + noise * rng.standard_normal()) for t in range(every, stop + 1, every)]


def trained(fork: int, steps: int, shape: str = "linear", final: float = 0.0) -> Branch:
    """A branch whose loss is exactly the law's."""
    plan = BranchPlan(fork, steps, shape, final=final)
    return Branch(fork, steps, shape, main_loss(plan.main_step) - GAIN * plan.gain_factor, final=final)


HISTORY = [trained(8_000, 2_000), trained(16_000, 4_000)]


def ask(**changes: object) -> Forecast:
    given_ = {"fork": 24_000, "steps": 6_000, "shape": "linear", **changes}
    return forecast_branch(main_points(24_000), HISTORY, **given_)  # type: ignore[arg-type]


def test_the_signatures_are_those_of_the_documents() -> None:
    taken = [
        (name, each.kind is each.KEYWORD_ONLY, each.default)
        for name, each in inspect.signature(forecast_branch).parameters.items()
    ]
    none = inspect.Parameter.empty
    assert taken == [
        ("main_points", False, none), ("history", False, none), ("fork", True, none), ("steps", True, none),
        ("shape", True, none), ("peak", True, None), ("warmup", True, 0), ("final", True, 0.0),
        ("drift_from", True, None),
    ]  # fmt: skip
    branch = Branch(4_000, 1_000, "linear", 3.25)
    assert (branch.fork, branch.steps, branch.shape, branch.loss, branch.final) == (4_000, 1_000, "linear", 3.25, 0.0)


def test_the_example_of_the_document_prints_what_it_says(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (repository / "docs" / "forecast.md").read_text(), re.DOTALL)
    exec(example, {})
    said = re.findall(r"print\(.*\)  # (.*)", example)
    assert capsys.readouterr().out.splitlines() == said
    assert len(said) == 2


def test_a_forecast_needs_numpy_alone() -> None:
    code = "import sys, lrps.forecast; print([m for m in ('torch', 'scipy', 'pydantic', 'yaml') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_points_can_be_an_array() -> None:
    points = main_points(24_000)
    asked = {"fork": 24_000, "steps": 6_000, "shape": "linear", "drift_from": 18_000}
    assert forecast_branch(np.array(points), HISTORY, **asked) == forecast_branch(points, HISTORY, **asked)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shape", "final", "progress", "gain"),
    [
        ("linear", 0.0, 0.6667, 0.7682), ("cosine", 0.0, 0.6366, 0.7559), ("1-sqrt", 0.0, 0.5333, 0.7993),
        ("linear", 0.1, 0.7173, 0.7154), ("cosine", 0.1, 0.7033, 0.7183), ("exponential", 0.1, 0.5939, 0.7500),
        ("inverse", 0.1, 0.4805, 0.7654),
    ],
)  # fmt: skip
def test_integrals_of_the_shapes(shape: str, final: float, progress: float, gain: float) -> None:
    assert decay_integrals(shape, final) == pytest.approx((progress, gain), abs=6e-5)


def test_a_multi_step_decay_is_integrated_over_its_levels() -> None:
    """80 % at the peak, 10 % at .316, 10 % at .1 of it; the fall at the end of the last level is none."""
    progress, gain = decay_integrals("multi-step")
    assert progress == pytest.approx(0.8 + 0.1 * 0.316**0.5 + 0.1 * 0.1**0.5, abs=2e-4)
    left = 0.1 * 0.316**0.5 + 0.1 * 0.1**0.5
    assert gain == pytest.approx(0.684 * left**0.15 + 0.216 * (0.1 * 0.1**0.5) ** 0.15, abs=2e-3)


@pytest.mark.parametrize(("shape", "final"), [("exponential", 0.0), ("inverse", 0.0), ("zigzag", 0.0)])
def test_a_shape_without_a_finite_rate_is_an_error(shape: str, final: float) -> None:
    with pytest.raises(ValueError, match="no decay of"):
        decay_integrals(shape, final)


def test_the_fit_finds_the_curve() -> None:
    curve = fit_main_curve(main_points(24_000))
    assert curve.exponent == pytest.approx(EXPONENT, rel=0.02)
    assert max(abs(curve.at(t) - main_loss(t)) for t in (2_000, 10_000, 40_000)) < 5e-4
    assert (curve.first, curve.known) == (2_000, 24_000)


@given(st.integers(10, 400), st.integers(50, 3_000))
def test_the_fit_uses_late_points_that_are_evenly_spread(count: int, every: int) -> None:
    points = main_points(count * every, every)
    used = points_to_fit(points, warmup=300)
    assert len(used) <= 150
    assert all(step >= 1000 for step, _ in used)
    assert set(used) <= set(points)
    if used:
        assert used[-1] == points[-1]


@pytest.mark.parametrize("shape", ["linear", "1-sqrt", "cosine", "multi-step"])
def test_a_branch_that_follows_the_law_is_forecast_exactly(shape: str) -> None:
    forecast = ask(shape=shape)
    assert forecast.loss == pytest.approx(trained(24_000, 6_000, shape).loss, abs=1e-3)
    assert forecast.branches == 2
    assert forecast.repeat_last_drop is not None


@given(st.integers(0, 1_000_000))
def test_noise_leaves_the_loss_within_the_band(seed: int) -> None:
    rng = np.random.default_rng(seed)
    history = [replace(branch, loss=branch.loss + 0.001 * rng.standard_normal()) for branch in HISTORY]
    forecast = forecast_branch(
        main_points(24_000, noise=0.002, seed=seed), history, fork=24_000, steps=6_000, shape="linear"
    )
    assert abs(forecast.loss - trained(24_000, 6_000).loss) < 3 * forecast.half_width


def test_a_main_path_noisier_than_its_band_gives_the_band_of_no_branch() -> None:
    for noise, share in ((0.0, 0.02), (0.02, 0.25)):
        found = forecast_branch(main_points(24_000, noise=noise), HISTORY, fork=24_000, steps=6_000, shape="linear")
        ahead = math.log(found.branch.main_step / 24_000)
        expected = found.gain * (share + 0.015 * math.log(1.5) + 0.03 * ahead) + 0.001
        assert found.half_width == pytest.approx(expected)
        assert found.is_noisy == (noise > 0)


def test_the_band_widens_with_what_is_new() -> None:
    known = {"length_ratio": 1.0, "horizon_ratio": 1.0, "new_shape": False}
    plain = half_width(0.1, 2, **known)  # type: ignore[arg-type]
    assert plain == pytest.approx(0.1 * 0.02 + 0.001)
    assert half_width(0.1, 0, **known) == pytest.approx(0.1 * 0.25 + 0.001)  # type: ignore[arg-type]
    assert half_width(0.1, 2, **{**known, "length_ratio": 2.0}) == pytest.approx(plain + 0.1 * 0.015 * math.log(2))  # type: ignore[arg-type]
    assert half_width(0.1, 2, **{**known, "horizon_ratio": 2.0}) == pytest.approx(plain + 0.1 * 0.03 * math.log(2))  # type: ignore[arg-type]
    assert half_width(0.1, 2, **{**known, "new_shape": True}) == pytest.approx(plain + 0.004)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("points", "changes", "reason", "words"),
    [
        (main_points(24_000)[:5], {}, "points", "main_every_steps"),
        ([*main_points(24_000), (24_500, math.nan)], {}, "not-finite", "not finite at step 24,500"),
        (main_points(24_000), {"steps": 20_000}, "length", "outside 500 to 16,000"),
        (main_points(10_000), {}, "horizon", "known to step 10,000"),
    ],
)
def test_a_forecast_outside_what_was_tested_is_refused(
    points: list[tuple[int, float]], changes: dict[str, int], reason: str, words: str
) -> None:
    with pytest.raises(ForecastRefused, match=words) as refused:
        forecast_branch(points, HISTORY, **{"fork": 24_000, "steps": 6_000, "shape": "linear", **changes})  # type: ignore[arg-type]
    assert refused.value.reason == reason


@pytest.mark.parametrize("shape", ["linear", "cosine", "1-sqrt"])
def test_a_branch_that_does_not_decay_is_refused(shape: str) -> None:
    """A decay that ends at the peak has no gain: neither can it be forecast, nor does it say anything of others."""
    flat = {"fork": 24_000, "steps": 6_000, "shape": shape, "final": 1.0}
    with pytest.raises(ForecastRefused, match="does not decay") as refused:
        forecast_branch(main_points(24_000), [], peak=1e-3, **flat)  # type: ignore[arg-type]
    assert refused.value.reason == "no-decay"
    past = Branch(8_000, 2_000, shape, 1.0, final=1.0)
    for count in (1, 9):
        with pytest.raises(ForecastRefused, match="from step 8,000 does not decay"):
            forecast_branch(main_points(24_000), [past] * count, fork=24_000, steps=2_000, shape=shape)


def test_a_branch_from_step_0_is_refused() -> None:
    with pytest.raises(ForecastRefused, match="no main path") as refused:
        forecast_branch(
            main_points(24_000), [Branch(0, 2_000, "linear", 2.9)], fork=24_000, steps=2_000, shape="linear"
        )
    assert refused.value.reason == "fork"
    with pytest.raises(ForecastRefused, match="no main path"):
        forecast_branch(main_points(24_000), HISTORY, fork=0, steps=2_000, shape="linear")


def test_a_branch_that_gained_nothing_is_refused() -> None:
    worse = replace(HISTORY[0], loss=9.0)
    with pytest.raises(ForecastRefused, match="no better than the main path"):
        forecast_branch(main_points(24_000), [worse], fork=24_000, steps=2_000, shape="linear")


def test_without_a_branch_the_peak_rate_gives_a_wide_band() -> None:
    with pytest.raises(ForecastRefused, match="peak learning rate"):
        forecast_branch(main_points(24_000), [], fork=24_000, steps=6_000, shape="linear")
    first = forecast_branch(main_points(24_000), [], fork=24_000, steps=6_000, shape="linear", peak=1e-3)
    assert first.half_width > 5 * ask().half_width
    assert first.repeat_last_drop is None


def drifting(start: int, shift: float, stop: int = 24_000) -> list[tuple[int, float]]:
    return [(t, loss + (shift if t > start else 0.0)) for t, loss in main_points(stop)]


@pytest.mark.parametrize("shift", [0.05, -0.05])
def test_drift_after_new_data_is_refused(shift: float) -> None:
    points = drifting(18_000, shift)
    assert drift_step(points, 18_000) == 18_500
    with pytest.raises(ForecastRefused, match=r"left its curve at step 18,500") as refused:
        forecast_branch(points, HISTORY, fork=24_000, steps=6_000, shape="linear", drift_from=18_000)
    assert refused.value.reason == "drift"


def test_two_points_off_the_curve_or_points_on_both_sides_are_no_drift() -> None:
    points = main_points(24_000)
    two = [(t, loss + (0.05 if t in (19_000, 19_500, 21_000) else 0.0)) for t, loss in points]
    sides = [(t, loss + (0.05 * (-1) ** (t // 500) if t > 18_000 else 0.0)) for t, loss in points]
    assert drift_step(points, 18_000) is None
    assert drift_step(two, 18_000) is None
    assert drift_step(sides, 18_000) is None


def test_an_earlier_drift_is_found_in_the_fit_of_all_points() -> None:
    """It widens the rms of the fit, so that the test for drift in the present increment sees nothing."""
    points = [(t, loss + 0.1 * min(1.0, max(0.0, (t - 12_000) / 3_000))) for t, loss in main_points(24_000)]
    assert drift_step(points, 20_000) is None
    assert earlier_drift_step(points) is not None
    assert earlier_drift_step(main_points(24_000, noise=0.003)) is None
    with pytest.raises(ForecastRefused, match="earlier version may have changed"):
        forecast_branch(points, HISTORY, fork=24_000, steps=6_000, shape="linear", drift_from=20_000)
