from __future__ import annotations

from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from lrps.base.commented_yaml import commented_yaml
from lrps.config.loader import parse_yaml

KEYS = st.text(min_size=1, max_size=8)
VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=12)
    | st.sampled_from(["on", "1e3", "null", "~", "0x10", "1.5", "a b", "#", "a: b", "-", ".", "", "NO", "2026-01-31"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


@given(st.dictionaries(KEYS, VALUES, max_size=5), st.booleans())
def test_what_is_written_is_read_again(values: dict[str, Any], expanded: bool) -> None:
    comments = dict.fromkeys(values, "why")
    try:
        read, _ = parse_yaml(commented_yaml(values, comments, expanded=expanded), "a.yaml")
    except Exception as error:
        raise AssertionError(commented_yaml(values, comments, expanded=expanded)) from error
    assert read == (values or None)


def test_sections_and_their_comments() -> None:
    text = commented_yaml({"a": {"b": 1, "c": {"d": "x"}}, "e": [{"f": None}]}, {"a": "two\nlines\n", "a.b": "one"})
    assert text == "# two\n# lines\na:\n  b: 1 # one\n  c: {d: x}\ne:\n  - {f: null}\n"
    assert yaml.safe_load(text) == {"a": {"b": 1, "c": {"d": "x"}}, "e": [{"f": None}]}
