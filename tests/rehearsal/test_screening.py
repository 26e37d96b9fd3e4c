"""Screening of instances: near-duplicates against all pairs, copies, and the shape that all training pairs have."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrps.rehearsal.instances import Instance, character_shingles, word_shingles
from lrps.rehearsal.screening import (
    COPY,
    FEWEST_PAIRS,
    INPUT_SHAPE,
    NEAR,
    NearDuplicates,
    PairShape,
    Screen,
    TextShape,
    agrees,
    screened,
)


def index(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other)


@settings(deadline=None)
@given(st.lists(st.frozensets(st.sampled_from("abcdefgh"), min_size=1)), st.sampled_from([0.1, 0.5, 0.75, 0.9, 1.0]))
def test_near_duplicates_are_those_of_all_comparisons(sets: list[frozenset[str]], threshold: float) -> None:
    found, kept = NearDuplicates(threshold), list[frozenset[str]]()
    for one in sets:
        similar = any(index(one, other) >= threshold - 1e-9 for other in kept)
        assert found.add(one) is not similar
        kept += [] if similar else [one]


def test_texts_are_compared_by_their_sequences() -> None:
    assert character_shingles("  ABCDE f") == {"abcde", "bcde ", "cde f"}
    assert character_shingles("ab") == {"ab"}
    assert word_shingles("one two THREE four five six") == {"one two three four five", "two three four five six"}


def test_an_instance_is_dropped_for_one_reason() -> None:
    pairs = [Instance(f"Say: {number}", str(number)) for number in range(FEWEST_PAIRS)]
    screen = Screen(frozenset({"say: 3"}), PairShape.of(pairs), 0.5)
    given_ = [Instance(text, "9") for text in ("Say:  3", "3", "Say: me", "say: me", "Say: many words", "Say: us")]
    assert screen.verdicts(given_) == [COPY, INPUT_SHAPE, None, INPUT_SHAPE, INPUT_SHAPE, None]
    kept, dropped = screened(given_, screen)
    assert kept == [given_[2], given_[5]]
    assert dropped == {COPY: 1, INPUT_SHAPE: 3}
    alike = [Instance("a list of six words here", "x"), Instance("A list of six words here.", "y")]
    assert Screen(near_duplicates=0.9).verdicts(alike) == [None, NEAR]
    assert Screen().verdicts(alike) == [None, None]


@settings(deadline=None)
@given(st.lists(st.builds(Instance, st.text("Ab1 \n.", min_size=1), st.text("Ab1 \n.", min_size=1)), min_size=20))
def test_every_training_pair_has_the_shape_of_its_task(pairs: list[Instance]) -> None:
    shape = PairShape.of(pairs)
    assert shape.input is not None
    assert shape.output is not None
    assert all(shape.input.fits(pair.input) and shape.output.fits(pair.output) for pair in pairs)


@pytest.mark.parametrize(
    ("texts", "fits", "others"),
    [
        (["Reverse: abc", "Reverse: abd"], ["Reverse: x"], ["abc", "Reverse abc", "Reverse: " + "a" * 9]),
        (["cat", "car"], ["dog"], ["a\nb", "long"]),
        (["Is it a cat?", "Is it a dog?"], ["Is it an ant?"[:6] + "a pig?"], ["Is it a pig", "Was it a pig?"]),
    ],
)
def test_a_shape_is_what_texts_have_in_common(texts: list[str], fits: list[str], others: list[str]) -> None:
    shape = TextShape.of(texts)
    assert all(map(shape.fits, fits))
    assert not any(map(shape.fits, others))


def test_few_outputs_are_a_closed_set() -> None:
    labels = TextShape.of(["yes", "No"] * 20, closed=True)
    assert [labels.fits(text) for text in ("Yes", "no", "oui")] == [True, True, False]
    assert TextShape.of(["yes", "no"] * 19 + ["a"], closed=True).fits("oui"), "three of 39 are too many to be closed"
    assert PairShape.of([Instance("a", "b")] * (FEWEST_PAIRS - 1)) == PairShape()


def test_outputs_agree_but_for_case_and_blanks() -> None:
    assert agrees(Instance("a", "Two  words"), Instance("b", "two words"))
    assert not agrees(Instance("a", "two words"), Instance("a", "two words."))
