"""What is referred to stays, and so does the newest, whatever the policy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.store.retention import retention, younger

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
