"""What is referred to stays, and so does the newest, whatever the policy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.store.retention import retention

STEPS = st.sets(st.integers(0, 60))


@given(
    steps=STEPS,
    referred=st.dictionaries(st.integers(0, 60), st.just("fork of branch-v2")),
    keep_last=st.integers(1, 5),
    every=st.none() | st.integers(1, 20),
)
def test_nothing_that_is_referred_to_goes_and_the_newest_stays(steps, referred, keep_last, every):
    found = retention(steps, referred, keep_last, every)
    assert found.keys() == steps
    newest = set(sorted(steps)[-keep_last:])
    for step, reason in found.items():
        stays = step in referred or step in newest or bool(every and step % every == 0)
        assert (reason is not None) == stays
        if step in referred:
            assert reason == referred[step]
    if steps:
        assert found[max(steps)] is not None


def test_reasons():
    assert retention([10, 20, 30, 40, 50, 60], {20: "release v1"}, 2, 40) == {
        10: None,
        20: "release v1",
        30: None,
        40: "a multiple of 40",
        50: "one of the newest 2",
        60: "the newest: the path goes on from it",
    }


def test_keeping_none_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        retention([1], {}, 0)
