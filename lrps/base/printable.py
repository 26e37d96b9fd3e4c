"""Text from anywhere as a terminal may show it: without characters that move the cursor, clear it or set its title."""

from __future__ import annotations

import re

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Control characters other than tab, line feed and carriage return, and those that reverse the direction of text."""
_OF_LIBRARIES = re.compile("\x1b\\[[0-9;]*m|\x1b\\[[0-9]*[AK]|\x1b\\[\\?25[hl]")
"""Escape sequences of rich: colours, a line up, an erased line, the cursor hidden or shown."""


def printable(text: str) -> str:
    """Return a text with a replacement character for every control character and every carriage return."""
    return _CONTROL.sub(REPLACEMENT, text.replace("\r", REPLACEMENT))


def on_terminal(text: str, colours: bool) -> str:
    """Return what a stream may write. colours: keep the escape sequences of colours and progress bars."""
    if _CONTROL.search(text) is None:
        return text
    if not colours:
        return _CONTROL.sub(REPLACEMENT, text)
    parts, end = [], 0
    for sequence in _OF_LIBRARIES.finditer(text):
        parts += [_CONTROL.sub(REPLACEMENT, text[end : sequence.start()]), sequence[0]]
        end = sequence.end()
    return "".join((*parts, _CONTROL.sub(REPLACEMENT, text[end:])))
