"""Numbers as people read them. None is a value that is not known, not measured or not applicable: never 0."""

from __future__ import annotations

from collections.abc import Sequence

NOT_APPLICABLE = "n/a"
_TOKENS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K"))
_TIMES = ((1.0, "h"), (1 / 60, "min"), (1 / 3600, "s"), (1e-3 / 3600, "ms"))
_BYTES = ((1e12, " TB"), (1e9, " GB"), (1e6, " MB"), (1e3, " kB"))


def short(value: float | None) -> str:
    """Tokens and rows: 1.23M, 10.5B; None is n/a."""
    return NOT_APPLICABLE if value is None else _scaled(value, _TOKENS, "")


def size(value: float | None) -> str:
    """Bytes on a disk: 47.4 GB."""
    return NOT_APPLICABLE if value is None else _scaled(value, _BYTES, " B")


def _scaled(value: float, scales: Sequence[tuple[float, str]], unit: str) -> str:
    for scale, letter in scales:
        if abs(value) >= (scale * 0.9995 if scale > 1e3 else scale):  # 999.6K rounds to 1M, not to 1e+03K
            return f"{value / scale:.3g}{letter}"
    return f"{value:.4g}{unit}"


def flops(value: float | None) -> str:
    """1.18e21, as papers write them."""
    if value is None:
        return NOT_APPLICABLE
    return f"{value:.2e}".replace("e+", "e") if value else "0"


def count(value: int | None) -> str:
    """Steps and other whole numbers, with separators."""
    return NOT_APPLICABLE if value is None else f"{value:,}"


def amount(value: float | None) -> str:
    """Hours and money: separators, and enough digits to distinguish small numbers."""
    if value is None:
        return NOT_APPLICABLE
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def device_time(hours: float | None) -> str:
    """Return hours of one device in the unit that fits them: 1,134 h, 36.2 h, 2.5 min, 19.5 s, 0.957 ms."""
    if hours is None or hours == 0:
        return NOT_APPLICABLE if hours is None else "0"
    unit, name = next((each for each in _TIMES if hours >= each[0]), _TIMES[-1])
    return f"{amount(hours / unit)} {name}"


def ratio(value: float | None) -> str:
    """A share as a percentage with one decimal."""
    return NOT_APPLICABLE if value is None else f"{value:.1%}"


def duration(seconds: float | None) -> str:
    """Seconds as people read them: 12s, 3m40s, 2h05m."""
    if seconds is None:
        return NOT_APPLICABLE
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def loss(value: float | None) -> str:
    """Nats a token, or bits a byte: four decimals, since versions differ in the third."""
    return NOT_APPLICABLE if value is None else f"{value:.4f}"
