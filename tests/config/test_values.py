"""Quantities as people write them."""

from __future__ import annotations

from typing import Any

import pytest

from lrps.config.values import parse_quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10.5B", 10_500_000_000),
        ("128K", 128_000),
        ("2m", 2_000_000),
        ("1T", 10**12),
        ("7", 7),
        ("0.5", 0.5),
        (".5B", 500_000_000),
        ("2.01B", 2_010_000_000),
    ],
)
def test_quantities(text: str, value: float) -> None:
    assert parse_quantity(text) == value


@pytest.mark.parametrize("value", ["10 parsecs", "B", "-1B", 3, None])
def test_what_is_no_quantity_is_left_to_validation(value: Any) -> None:
    assert parse_quantity(value) is value
