"""What is referred to stays, and so does the newest, whatever the policy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.ledger.confirmed import SavedStates
from lrps.store.retention import retention, rewind_spread, rewindable, younger

STEPS = st.sets(st.integers(0, 60))


@given(
    steps=STEPS,
    referred=st.dictionaries(st.integers(0, 60), st.just("fork of branch-v2")),
    keep_last=st.integers(1, 5),
    every=st.none() | st.integers(1, 20),
    young=st.sets(st.integers(0, 60)),
)
def test_nothing_that_is_referred_to_goes_and_the_newest_stays(steps, referred, keep_last, every, young):
    found = retention(steps, referred, keep_last, every, dict.fromkeys(young, "younger than 1 h"))
    assert found.keys() == steps
    newest = set(sorted(steps)[-keep_last:])
    for step, reason in found.items():
        stays = step in referred or step in newest or bool(every and step % every == 0) or step in young
        assert (reason is not None) == stays
        if step in referred:
            assert reason == referred[step]
    if steps:
        assert found[max(steps)] is not None


def test_young_is_what_was_written_less_than_so_many_hours_ago():
    written = {1: 0.0, 2: 3600.0, 3: 3601.0, 4: 9000.0}
    assert younger(written, 7200.0, 1) == {3: "younger than 1 h", 4: "younger than 1 h"}
    assert younger(written, 7200.0, 0.5) == {4: "younger than 0.5 h"}
    assert younger(written, 7200.0, None) == {}


def test_reasons():
    assert retention([10, 20, 30, 40, 50, 60], {20: "release v1"}, 2, 40) == {
        10: None,
        20: "release v1",
        30: None,
        40: "a multiple of 40",
        50: "one of the newest 2",
        60: "the newest: the path resumes from it",
    }


def test_keeping_none_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        retention([1], {}, 0)


@given(saved=st.sets(st.integers(1, 500), max_size=80))
def test_the_spread_keeps_one_state_of_every_age_from_a_power_of_two_to_the_next(saved):
    ordered = sorted(saved)
    ages = sorted(len(ordered) - 1 - ordered.index(step) for step in rewind_spread(saved))
    for low in (2**i for i in range(8)):
        of_this_age = [age for age in ages if low <= age < 2 * low]
        assert len(of_this_age) <= 1
        if 2 * low <= len(ordered):
            assert len(of_this_age) == 1, "there was a state of every such age"
    assert len(ages) <= len(ordered).bit_length() + 1


@given(saved=st.lists(st.integers(1, 500), unique=True, max_size=60))
def test_removing_at_every_save_leaves_what_the_spread_keeps_in_the_end(saved):
    there: set[int] = set()
    for number, step in enumerate(sorted(saved), 1):
        there = (there | {step}) & rewind_spread(sorted(saved)[:number])
    assert there == rewind_spread(saved)


@given(
    steps=STEPS,
    confirmed=STEPS,
    settled=STEPS,
    keep_last=st.integers(1, 3),
    spread=st.booleans(),
)
def test_the_newest_confirmed_state_always_stays(steps, confirmed, settled, keep_last, spread):
    states = SavedStates(frozenset(steps), frozenset(confirmed | settled), frozenset(settled))
    found = retention(steps, {}, keep_last, None, rewindable(steps, states, spread))
    if steps & settled:
        assert found[max(steps & settled)] is not None
    kept = {step for step, reason in found.items() if reason is not None}
    newest = set(sorted(steps)[-keep_last:])
    others = kept - newest - {max(steps & settled, default=-1)}
    assert others <= (states.confirmed & rewind_spread(steps) if spread else set())


def test_reasons_of_states_to_go_back_to():
    states = SavedStates(frozenset(range(10, 90, 10)), frozenset(range(10, 80, 10)), frozenset(range(10, 70, 10)))
    assert rewindable([40, 60, 70, 80], states, spread=True) == {
        40: "to rewind to",
        60: "the newest confirmed one: the path goes back to it after a failure",
        70: "to rewind to",
    }
