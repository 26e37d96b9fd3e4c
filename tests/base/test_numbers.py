"""Numbers as people read them."""

from __future__ import annotations

import pytest

from lrps.base.numbers import device_time


@pytest.mark.parametrize(
    ("hours", "text"),
    [
        (None, "n/a"),
        (0, "0 s"),
        (2.66e-7, "0.958 ms"),
        (0.999 / 3600, "999 ms"),
        (0.00541, "19.5 s"),
        (59.94 / 3600, "59.9 s"),
        (59.96 / 3600, "0.999 min"),
        (0.0655, "3.93 min"),
        (0.9999, "1 h"),
        (2.054, "2.05 h"),
        (1234.4, "1,234 h"),
    ],
)
def test_device_time_is_in_the_unit_that_fits(hours: float | None, text: str) -> None:
    assert device_time(hours) == text
