"""A version that is built is compared with the text that is still there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.data.build.built import input_difference

LETTERS = st.lists(st.sampled_from("abcd"), max_size=6)


def inputs(letters: str | list[str], suffix: str = "txt", folder: str = "") -> list[dict[str, object]]:
    """Files whose content is a letter."""
    return [{"name": f"{folder}{k}.{suffix}", "bytes": 1, "sha256": letter} for k, letter in enumerate(letters)]


@given(LETTERS, LETTERS, st.booleans())
def test_content_and_order_count_and_names_do_not(recorded, present, whole):
    difference = input_difference(inputs(recorded), inputs(present, folder="other/"), whole)
    chosen = {""}
    for letter in recorded:
        chosen |= {each + letter for each in chosen}
    allowed = {"".join(recorded)} if whole else chosen
    assert (difference is None) == ("".join(present) in allowed)


@pytest.mark.parametrize(
    ("recorded", "present", "message"),
    [
        ("ab", "abc", "2.txt is new or changed"),
        ("abc", "ab", "2.txt is no longer in its text"),
        ("ab", "cd", "0.txt, 1.txt are new or changed; 0.txt, 1.txt are no longer in its text"),
        ("abcde", "", "0.txt, 1.txt, 2.txt and 2 more are no longer in its text"),
        ("ab", "ba", "their order or number"),
        ("ab", "abb", "their order or number"),
    ],
)
def test_a_difference_is_named(recorded: str, present: str, message: str) -> None:
    assert input_difference(inputs(recorded), inputs(present), whole=True) == message


def test_a_file_of_another_format_is_another_one() -> None:
    assert input_difference(inputs("a", "jsonl"), inputs("a", "ndjson"), whole=True) is None
    assert input_difference(inputs("a", "jsonl"), inputs("a", "txt"), whole=True)
