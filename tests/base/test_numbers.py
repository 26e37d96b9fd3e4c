"""Numbers as people read them."""

from __future__ import annotations

import pytest

from lrps.base.numbers import amount, device_time, loss, ratio, short


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "n/a"), (0, "0"), (999, "999"), (999.6, "999.6"), (1000, "1K"), (1.234e9, "1.23B"), (999_600, "1M")],
)
def test_short(value: float | None, text: str) -> None:
    assert short(value) == text


def test_numbers_for_people() -> None:
    assert (amount(1234.5), amount(0.01234), amount(None)) == ("1,234", "0.0123", "n/a")
    assert (ratio(0.58), ratio(None), loss(2.0), loss(None)) == ("58.0%", "n/a", "2.0000", "n/a")


@pytest.mark.parametrize(
    ("hours", "text"),
    [
        (None, "n/a"),
        (0.0, "0"),
        (1134.2, "1,134 h"),
        (1.0, "1 h"),
        (0.5, "30 min"),
        (0.00541, "19.5 s"),
        (1 / 3600, "1 s"),
        (9.49e-07, "3.42 ms"),
        (2.66e-08, "0.0958 ms"),
    ],
)
def test_device_time_is_in_the_unit_that_fits(hours: float | None, text: str) -> None:
    assert device_time(hours) == text
