"""Money, device time and ratios as a bill shows them. The script of the report's page has the same functions.

Every amount is rounded before its unit is chosen (59.97 s is `1 min 0 s`), half up on the exact binary value as
`Number.toFixed` of a browser does. None is a value that is not known or not measured: n/a, never 0.
"""

from __future__ import annotations

import math
from decimal import ROUND_HALF_UP, Decimal

from lrps.base.numbers import NOT_APPLICABLE

NB = "\N{NO-BREAK SPACE}"
"""Space between a number and its unit."""


def fixed(value: float, decimals: int) -> str:
    """Return a number with separators and this many decimals, rounded half up."""
    return f"{Decimal(value).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP):,}"


def significant(value: float) -> str:
    """Return a number above 0 with three significant digits, without an exponent."""
    decimals = max(0, 2 - math.floor(math.log10(value)))
    if decimals and float(fixed(value, decimals).replace(",", "")) >= 10 ** (3 - decimals):
        decimals -= 1  # 0.99996 rounds to 1.00, not to 1.000
    return fixed(value, decimals)


def money(value: float | None, currency: str) -> str:
    """Return an amount of money after the code of its currency, such as USD 0.0908 or USD 186,962; n/a for None."""
    if value is None:
        return NOT_APPLICABLE
    if 0 < value < 0.0001:
        return f"<{NB}{currency}{NB}0.0001"
    if not value:
        return f"{currency}{NB}0"
    text = significant(value) if value < 0.9995 else fixed(value, 2 if value < 999.995 else 0)
    return f"{currency}{NB}{text}"


def bill_time(hours: float | None) -> str:
    """Return device time in its unit, such as 35.6 ms, 2 min 11 s, 12.4 h or 74,785 h; n/a for None.

    It is never in days: days are wall-clock time.
    """
    if hours is None:
        return NOT_APPLICABLE
    seconds = hours * 3600
    if not seconds:
        return f"0{NB}s"
    if seconds < 1e-6:
        return f"<{NB}1{NB}µs"
    if seconds < 0.0009995:
        return f"{significant(seconds * 1e6)}{NB}µs"
    if seconds < 0.9995:
        return f"{significant(seconds * 1000)}{NB}ms"
    if seconds < 59.95:
        return f"{fixed(seconds, 1)}{NB}s"
    if seconds < 3599.5:
        whole = math.floor(seconds + 0.5)
        return f"{whole // 60}{NB}min{NB}{whole % 60}{NB}s"
    return f"{significant(hours) if hours < 999.5 else fixed(hours, 0)}{NB}h"


def wall_time(hours: float, devices: int) -> str:
    """Return the wall-clock time of device-hours on several devices, from 48 hours in days: 48.7 days on 64 devices."""
    clock = hours / devices
    text = f"{fixed(clock / 24, 1)}{NB}days" if clock >= 48 else bill_time(clock)
    return f"{text} on {devices}{NB}device{'s' if devices > 1 else ''}"


def percentage(value: float | None) -> str:
    """Return a ratio as a percentage with one decimal, from tenfold on as `12 times`; n/a for None."""
    if value is None:
        return NOT_APPLICABLE
    return f"{fixed(value * 100, 1)}%" if value < 9.9995 else f"{fixed(value, 0)}{NB}times"


def factor(value: float) -> str:
    """Return a factor with two decimals below 2 and one above."""
    return fixed(value, 2 if value < 1.995 else 1)
