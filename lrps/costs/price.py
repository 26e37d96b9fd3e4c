"""Price of a device-hour, as the config states it."""

from __future__ import annotations

from dataclasses import dataclass

from lrps.config.hardware import HardwareConfig


@dataclass(frozen=True)
class Price:
    """Price of a device-hour, and its source."""

    amount: float
    """Units of the currency."""
    currency: str
    """Code of the currency."""
    source: str
    """Source of the price, so that a reader can check it."""
    date: str
    """Day of the price, as YYYY-MM-DD."""


def price_of(hardware: HardwareConfig | None) -> Price | None:
    """Return the price of a device-hour; None if the config states none."""
    stated = hardware.price_per_device_hour if hardware else None
    return None if stated is None else Price(stated.amount, stated.currency, stated.source, stated.date.isoformat())
