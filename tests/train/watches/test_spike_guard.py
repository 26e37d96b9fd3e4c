"""Verdicts of the spike guard on recorded series: noise, heavy tails, planted spikes, a level that changes for good."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.config.guarding import JUDGED_FROM, GuardConfig
from lrps.train.watches.spike_guard import MOST_IN_A_ROW, GuardState, StepNote, judge, robust_z

SKIP, WARN = (GuardConfig(action=action) for action in ("skip", "warn"))
Series = Callable[[int], tuple[float, float]]


def noise(seed: int, tails: float | None = None) -> Series:
    """A falling loss and a gradient norm, with normal noise, or with Student's noise of so many degrees of freedom."""
    draw = random.Random(seed)

    def at(step: int) -> tuple[float, float]:
        wide = 1.0 if tails is None else math.sqrt(tails / draw.gammavariate(tails / 2, 2))
        loss = 4 * (step + 50) ** -0.2 + 1 + draw.gauss(0, 0.03) * wide
        return loss, math.exp(draw.gauss(-0.5, 0.2) * wide)

    return at


def judged(values: Iterable[tuple[float, float]], guard: GuardConfig = SKIP) -> dict[int, StepNote]:
    """Step -> its note, of the steps that have one."""
    state, notes = GuardState(), {}
    for step, (loss, norm) in enumerate(values):
        note, state = judge(state, loss, norm, guard)
        if note is not None:
            notes[step] = note
    return notes


def test_normal_noise_has_no_spike() -> None:
    assert not judged(map(noise(0), range(4000)))


def test_heavy_tails_have_few() -> None:
    assert 0 < len(judged(map(noise(0, tails=5), range(4000)))) < 12


@pytest.mark.parametrize(("which", "cause"), [(0, "loss"), (1, "norm")])
def test_planted_spikes_are_found_and_nothing_else(which: int, cause: str) -> None:
    series, planted = noise(1), range(550, 2000, 200)
    values = [list(series(step)) for step in range(2000)]
    for step in planted:
        values[step][which] += (0.5, 8.0)[which]
    notes = judged((loss, norm) for loss, norm in values)
    assert list(notes) == list(planted)
    for step, note in notes.items():
        assert (note.cause, note.skipped) == (cause, True)
        assert (note.loss, note.norm) == tuple(values[step])
        assert note.z is not None
        assert note.z > SKIP.z


def test_only_what_is_above_counts() -> None:
    series = noise(2)
    values = [(loss - 2 * (step == 900), norm / (50 if step == 901 else 1)) for step in range(1000)
              for loss, norm in [series(step)]]  # fmt: skip
    assert not judged(values)


def recorded() -> dict[str, Any]:
    """A series of a real run, which the command in it has recorded."""
    found: dict[str, Any] = json.loads(Path(__file__).with_name("recorded_spikes.json").read_text())
    return found


RECOVERY = 200
"""Steps after an update that was far too large until the loss is that of before."""


def test_the_spikes_of_a_recorded_run_are_found_and_nothing_else() -> None:
    """Two are too small or too early: the update of step 310, and the noise at 200, where the loss still falls.

    The noise at 640 is within the recovery after step 530, whose losses fill the window.
    """
    found = recorded()
    noise_steps, leaps = set(found["noise"]), found["leaps"]
    notes = judged(zip(found["losses"], found["norms"], strict=True))
    assert {420, 421} <= notes.keys() & noise_steps
    assert leaps[-1] + 1 in notes, "the step after the update"
    recovering = {step for leap in leaps for step in range(leap + 1, leap + 1 + RECOVERY)}
    assert notes.keys() <= noise_steps | recovering
    assert all(notes[step].skipped for step in (420, 421, leaps[-1] + 1))
    assert sum(note.skipped for note in notes.values()) < 12, "training goes through the recovery"


def test_the_calm_steps_of_a_recorded_run_have_no_spike() -> None:
    """The same series without the planted steps and the recovery after them."""
    found = recorded()
    planted = {*found["noise"], *(step for leap in found["leaps"] for step in range(leap, leap + RECOVERY // 4))}
    series = list(zip(found["losses"], found["norms"], strict=True))
    calm = [values for step, values in enumerate(series[: found["leaps"][-1]]) if step not in planted]
    assert len(calm) > 450
    assert not judged(calm)


@pytest.mark.parametrize("level", [0.6, 1.0, 5.0])
def test_a_level_that_changes_for_good_passes_few_steps(level: float) -> None:
    series = noise(3)
    notes = judged((loss + level * (step >= 1000), norm) for step in range(2000) for loss, norm in [series(step)])
    passed = [step for step, note in notes.items() if note.skipped]
    assert passed == [1000, 1001, 1002]
    assert min(notes) == 1000
    assert max(notes) < 1000 + SKIP.window, "the new level is the window's"


def test_a_new_window_knows_no_level() -> None:
    series, state = noise(4), GuardState()
    for step in range(400):
        loss, norm = series(step)
        state = state.with_new_window() if step == 200 else state
        note, state = judge(state, loss + (step >= 200), norm, SKIP)
        assert note is None
    assert len(state.losses) == 200


def test_judging_begins_with_the_window() -> None:
    values = [(2.0 + step % 2 / 100, 1.0) for step in range(JUDGED_FROM)]
    assert not judged([*values[:-1], (9.0, 1.0)])
    assert list(judged([*values, (9.0, 1.0)])) == [JUDGED_FROM]


@pytest.mark.parametrize("bad", [(math.nan, 1.0), (1.0, math.inf), (math.inf, math.nan)])
def test_what_is_not_finite_passes_three_times_in_a_row(bad: tuple[float, float]) -> None:
    notes = judged([(2.0, 1.0), bad, (2.0, 1.0), *[bad] * 5])
    assert [note.skipped for note in notes.values()] == [True] * 4 + [False] * 2
    assert {note.cause for note in notes.values()} == {"non-finite"}
    assert all(value is None or math.isfinite(value) for note in notes.values() for value in (note.loss, note.norm))
    assert MOST_IN_A_ROW == 3


def test_a_warning_skips_nothing() -> None:
    series = noise(5)
    values = [(loss + (step == 500), norm) for step in range(600) for loss, norm in [series(step)]]
    assert [(step, note.skipped) for step, note in judged(values, WARN).items()] == [(500, False)]


numbers = st.floats(0, 1e6) | st.sampled_from([math.nan, math.inf, 0.0, 1e-320, 5e-324])


@given(st.lists(st.tuples(numbers, numbers), max_size=90), st.integers(0, 90), st.integers(32, 50))
def test_saved_at_any_step_the_verdicts_are_the_same(values: list[tuple[float, float]], cut: int, window: int) -> None:
    guard = GuardConfig(action="skip", window=window, z=3.0)
    straight, resumed, notes = GuardState(), GuardState(), 0
    for step, (loss, norm) in enumerate(values):
        if step == cut:
            resumed = GuardState.from_json(json.loads(json.dumps(resumed.to_json(), allow_nan=False)))
        (note, straight), (again, resumed) = judge(straight, loss, norm, guard), judge(resumed, loss, norm, guard)
        assert (note, straight) == (again, resumed)
        notes += note is not None
        assert len(straight.losses) == len(straight.log_norms) <= window
        assert straight.in_a_row <= notes


@given(st.lists(st.floats(-1e3, 1e3), min_size=32, max_size=80), st.floats(-1e3, 1e3))
def test_robust_z_is_that_of_numpy(window: list[float], value: float) -> None:
    centre = np.median(window)
    deviation = max(1.4826 * np.median(np.abs(np.array(window) - centre)), 1e-3)
    assert robust_z(window, value) == pytest.approx((value - centre) / deviation)
