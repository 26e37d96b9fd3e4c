"""Numbers as people read them. None is a value that is not known, not measured or not applicable: never 0."""

from __future__ import annotations

from collections.abc import Sequence

NOT_APPLICABLE = "n/a"
_TOKENS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K"))
_TIMES = ((1.0, "h"), (1 / 60, "min"), (1 / 3600, "s"), (1e-3 / 3600, "ms"))
_BYTES = ((1e12, " TB"), (1e9, " GB"), (1e6, " MB"), (1e3, " kB"))


def short(value: float | None) -> str:
    """Return a number with a scale letter, such as 1.23M or 10.5B; n/a for None."""
    return NOT_APPLICABLE if value is None else _scaled(value, _TOKENS, "")


def size(value: float | None) -> str:
    """Return a number of bytes in the decimal unit that fits it, such as 47.4 GB; n/a for None."""
    return NOT_APPLICABLE if value is None else _scaled(value, _BYTES, " B")


def _scaled(value: float, scales: Sequence[tuple[float, str]], unit: str) -> str:
    for scale, letter in scales:
        if abs(value) >= (scale * 0.9995 if scale > 1e3 else scale):  # 999.6K rounds to 1M, not to 1e+03K
            return f"{value / scale:.3g}{letter}"
    return f"{value:.4g}{unit}"


def flops(value: float | None) -> str:
    """Return a number of FLOPs as papers write it, such as 1.18e21; n/a for None."""
    if value is None:
        return NOT_APPLICABLE
    return f"{value:.2e}".replace("e+", "e") if value else "0"


def count(value: int | None) -> str:
    """Return a whole number with separators, such as 12,500; n/a for None."""
    return NOT_APPLICABLE if value is None else f"{value:,}"


def amount(value: float | None) -> str:
    """Return hours or money with separators, below 100 with three digits, such as 1,134 or 0.957; n/a for None."""
    if value is None:
        return NOT_APPLICABLE
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def device_time(hours: float | None) -> str:
    """Return hours of one device in the unit that fits them, such as 1,134 h, 2.5 min or 0.957 ms; n/a for None."""
    if hours is None or hours == 0:
        return NOT_APPLICABLE if hours is None else "0"
    unit, name = next((each for each in _TIMES if hours >= each[0]), _TIMES[-1])
    return f"{amount(hours / unit)} {name}"


def ratio(value: float | None) -> str:
    """Return a share as a percentage with one decimal, such as 67.3%; n/a for None."""
    return NOT_APPLICABLE if value is None else f"{value:.1%}"


def duration(seconds: float | None) -> str:
    """Return seconds as people read them, such as 12s, 3m40s or 2h05m; n/a for None."""
    if seconds is None:
        return NOT_APPLICABLE
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def loss(value: float | None) -> str:
    """Return nats per token or bits per byte with four decimals, since versions differ in the third; n/a for None."""
    return NOT_APPLICABLE if value is None else f"{value:.4f}"
