"""What is held out depends on a text alone, and a share that is advised holds out enough."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lrps.data import heldout
from lrps.data.heldout import is_heldout, sufficient_share


@given(st.text(), st.floats(0, 1), st.floats(0, 1), st.text())
def test_what_a_share_holds_out_a_larger_share_holds_out_too(text, one, other, salt):
    small, large = sorted((one, other))
    assert is_heldout(text, large, salt) >= is_heldout(text, small, salt)
    assert not is_heldout(text, 0.0, salt)


def test_about_the_share_is_held_out_and_the_salt_matters():
    texts = [f"text {n}" for n in range(20_000)]
    one, two = ([is_heldout(text, 0.1, salt) for text in texts] for salt in ("a", "b"))
    assert abs(np.mean(one) - 0.1) < 0.01
    assert abs(np.mean(np.logical_and(one, two)) - 0.01) < 0.004


def test_held_out_documents_are_pinned_for_ever():
    assert [n for n in range(60) if is_heldout(f"text {n}", 0.1, "lrps")] == [10, 11, 19, 21, 22, 34, 43, 52]


@given(st.lists(st.text(min_size=1, max_size=30), max_size=60), st.integers(1, 99), st.text(max_size=3))
def test_an_advised_share_holds_out_enough_and_a_tenth_less_does_not(texts, wanted, salt):
    def held(share: float) -> int:
        return sum(len(text.encode()) for text in texts if is_heldout(text, share, salt))

    share = sufficient_share(texts, salt, wanted)
    if share is None:
        everything = held(1.0)
        assert held(0.449) < wanted or held(0.45) == everything or held(0.5) == everything
    else:
        assert held(share) >= wanted > held(share * 0.9)
        assert held(share) < held(1.0)


def test_a_share_is_found_without_reading_everything(monkeypatch):
    monkeypatch.setattr(heldout, "SEARCHED_TEXTS", 300)
    texts = [f"text {n}" for n in range(1000)]
    read = iter(texts)
    share = sufficient_share(read, "lrps", 50)
    assert next(read) == texts[300]
    assert sum(len(text) for text in texts if is_heldout(text, share, "lrps")) >= 50
