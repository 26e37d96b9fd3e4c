"""Amounts of a bill: units, digits and rounding."""

from __future__ import annotations

import pytest

from lrps.base.amounts import bill_time, factor, money, percentage, wall_time


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "n/a"),
        (0.0, "USD 0"),
        (0.00004, "< USD 0.0001"),
        (0.09076, "USD 0.0908"),
        (0.9994, "USD 0.999"),
        (0.99996, "USD 1.00"),
        (12.345, "USD 12.35"),  # the float is a little above the tie
        (0.125, "USD 0.125"),
        (999.994, "USD 999.99"),
        (999.996, "USD 1,000"),
        (186_962.4, "USD 186,962"),
    ],
)
def test_money_is_read_to_the_unit(value: float | None, text: str) -> None:
    assert plain(money(value, "USD")) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (5e-7, "< 1 µs"),
        (0.0000356, "35.6 µs"),
        (0.0356, "35.6 ms"),
        (0.99996, "1.0 s"),
        (59.94, "59.9 s"),
        (59.97, "1 min 0 s"),
        (131, "2 min 11 s"),
        (3599.6, "1.00 h"),
        (12.4 * 3600, "12.4 h"),
        (999.7 * 3600, "1,000 h"),
        (74_785 * 3600, "74,785 h"),
    ],
)
def test_device_time_has_the_unit_that_fits_it(seconds: float, text: str) -> None:
    assert plain(bill_time(seconds / 3600)) == text


def test_unknown_is_never_zero() -> None:
    assert (bill_time(None), percentage(None)) == ("n/a", "n/a")


def test_days_are_wall_clock_time() -> None:
    assert plain(wall_time(48.7 * 24 * 64, 64)) == "48.7 days on 64 devices"
    assert plain(wall_time(47.9, 1)) == "47.9 h on 1 device"


def test_ratios_and_factors() -> None:
    assert [plain(percentage(value)) for value in (0.58, 1.45, 9.999, 9.9996, 12.4)] == [
        "58.0%",
        "145.0%",
        "999.9%",
        "10 times",
        "12 times",
    ]
    assert [factor(value) for value in (1.0, 1.994, 1.996, 8.66)] == ["1.00", "1.99", "2.0", "8.7"]
