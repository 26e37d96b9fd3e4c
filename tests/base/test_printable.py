"""What foreign text becomes before a terminal shows it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lrps.base.printable import on_terminal, printable


@given(st.text(st.characters(exclude_categories=["Cc", "Cf", "Zl", "Zp"])))
def test_plain_text_stays(text: str) -> None:
    assert printable(text) == on_terminal(text, colours=False) == on_terminal(text, colours=True) == text


@given(st.text(st.sampled_from("\x1b[]0;31mAK\x07\x9b\r\x7f\u202e\n a")))
def test_nothing_moves_the_cursor_or_hides_text(text: str) -> None:
    assert not {*"\x1b\x07\x9b\r\x7f\u202e"} & {*printable(text)}
    assert not {*"\x1b\x07\x9b\x7f\u202e"} & {*on_terminal(text, colours=False)}
    assert len(printable(text)) == len(text)
