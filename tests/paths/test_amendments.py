"""Amendments as values: what they change of rates and steps, against a step-by-step account of what was asked for."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.paths.amendments import (
    AmendedSchedule,
    Amendment,
    Amendments,
    abandoned_by,
    amendments_from_json,
    clip_at,
    generation,
    in_force,
    longer_list,
    scaled_to,
    skips,
)
from lrps.paths.schedule import SHAPES, Decay, Schedule, warmup_stable, warmup_stable_decay

STEPS = 60
PEAK = 3e-3
SCHEDULES = (warmup_stable(PEAK, 10), warmup_stable(PEAK, 10, 0.012))


def maybe(values: st.SearchStrategy[float]) -> st.SearchStrategy[float | None]:
    return st.none() | values


drawn = st.builds(
    Amendment,
    at=st.integers(0, STEPS - 10),
    skip=st.integers(0, 4),
    peak_lr=maybe(st.sampled_from([1e-3, 7e-4])),
    for_steps=maybe(st.integers(1, 20)),
    clip_grad_norm=maybe(st.sampled_from([0.5, 0.1])),
)
lists = st.lists(drawn, max_size=4).map(tuple)


class History:
    """Steps as they are trained when amendments come one after the other: each gives up all steps beyond its own."""

    def __init__(self, amendments: Amendments) -> None:
        self.by_step: list[list[tuple[int, Amendment]]] = [[] for _ in range(STEPS)]
        for number, each in enumerate(amendments, 1):
            before = [(n, e) for n, e in self.by_step[each.at] if e.at < each.at]
            for step in range(each.at, STEPS):
                self.by_step[step] = [*before, (number, each)]


@given(lists)
def test_amendments_are_in_force_where_no_rewind_gave_up_their_history(amendments: Amendments) -> None:
    history = History(amendments)
    for step in range(STEPS):
        speaking = history.by_step[step]
        assert [pair for pair in in_force(amendments) if pair[1].at <= step] == speaking
        assert (step in skips(amendments)) == any(each.at <= step < each.at + each.skip for _, each in speaking)
        clips = [each.clip_grad_norm for _, each in speaking if each.clip_grad_norm is not None]
        assert clip_at(amendments, step) == (clips[-1] if clips else None)
        # A state of `step` is what the step before it has made.
        assert generation(amendments, step) == (
            max((n for n, _ in history.by_step[step - 1]), default=0) if step else 0
        )


@given(lists, st.sampled_from(SCHEDULES))
def test_below_its_step_an_amendment_changes_no_bit_and_above_it_the_peak_is_what_was_asked_for(
    amendments: Amendments, base: Schedule
) -> None:
    schedule, history = AmendedSchedule(base, amendments), History(amendments)
    for step in range(STEPS):
        speaking = [each for _, each in history.by_step[step] if each.peak_lr is not None]
        speaking = [each for each in speaking if each.for_steps is None or step < each.at + each.for_steps]
        rate = schedule.lr_at(step)
        if not speaking:
            assert rate == base.lr_at(step)
        elif base.lr_at(step) == PEAK:
            assert rate == speaking[-1].peak_lr
        else:
            asked = speaking[-1].peak_lr
            assert asked is not None
            assert rate == pytest.approx(base.lr_at(step) * asked / PEAK, rel=1e-12)


def test_a_rate_ends_after_its_steps() -> None:
    schedule = AmendedSchedule(SCHEDULES[0], (Amendment(40, peak_lr=1e-3, for_steps=20),))
    assert [schedule.lr_at(step) for step in (39, 40, 59, 60)] == [3e-3, 1e-3, 1e-3, 3e-3]
    assert (schedule.lr_after(60), schedule.lr_after(59)) == (3e-3, 1e-3)


def test_a_path_that_ends_with_its_schedule_ends_at_the_amended_rate() -> None:
    falling = warmup_stable_decay(0, 50, warmup=0, lr_start=0.0, peak=1.0, decay=Decay("linear", 20, 0.1))
    assert AmendedSchedule(falling, (Amendment(10, peak_lr=0.5),)).lr_after(50) == pytest.approx(0.05)


@pytest.mark.parametrize("shape", [*SHAPES, "multi-step"])
def test_a_scaled_schedule_begins_at_the_new_rate_and_ends_at_its_own_final_one(shape: str) -> None:
    falling = warmup_stable_decay(100, 140, warmup=0, lr_start=0.0, peak=PEAK, decay=Decay(shape, 40, 1e-4))
    scaled = scaled_to(falling, PEAK, 1e-3)
    assert scaled.lr_at(100) == 1e-3
    assert scaled.lr_after(140) == pytest.approx(1e-4), (
        "a multi-step decay ends at a tenth of the rate that it begins at"
    )
    assert all(scaled.lr_at(step) <= falling.lr_at(step) for step in range(100, 140))


def test_skipped_steps_may_begin_later_than_the_state() -> None:
    assert skips((Amendment(10, skip_from=15, skip=3),)).to_json() == [[15, 17]]


@given(lists)
def test_a_state_is_abandoned_by_the_first_later_amendment_below_it(amendments: Amendments) -> None:
    for step in range(STEPS):
        for history in {generation(amendments[:n], step) for n in range(len(amendments) + 1)}:
            abandoned = abandoned_by(amendments, history, step)
            assert (abandoned is None) == (generation(amendments, step) == history)
            if abandoned is not None:
                assert generation(amendments[: abandoned - 1], step) == history
                assert amendments[abandoned - 1].at < step


@given(lists)
def test_a_list_survives_json_and_only_a_list_that_continues_another_agrees_with_it(amendments: Amendments) -> None:
    assert amendments_from_json(json.loads(json.dumps([each.to_json() for each in amendments]))) == amendments
    for n in range(len(amendments) + 1):
        assert longer_list(amendments, amendments[:n]) == amendments == longer_list(amendments[:n], amendments)
        other = (*amendments[:n], Amendment(STEPS))
        assert longer_list(other, amendments) == (other if n == len(amendments) else None)


@pytest.mark.parametrize("value", [{"at": "4"}, {"at": 4, "skip": 1.5}, {"at": 4, "peak_lr": "1"}, {"at": 4, "new": 1}])
def test_what_this_version_cannot_read_is_no_amendment(value: dict[str, object]) -> None:
    with pytest.raises(TypeError):
        amendments_from_json([value])


def test_reason_and_time_change_nothing() -> None:
    amendment = Amendment(4, skip=2, peak_lr=1)
    assert replace(amendment, reason="x", when="y", peak_lr=1.0, skip_from=4).changed == amendment.changed
    assert replace(amendment, skip=3).changed != amendment.changed
