"""Price of a device-hour: that of the config, that of `--price`, and the one that an attempt is charged."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from math import inf

from lrps.base.errors import ConfigError
from lrps.config.hardware import PriceConfig
from lrps.ledger.totals import RecordedPrice
from lrps.plan.plan import Plan

OPTION = "--price"
"""Source of a price that the command line states."""
_STATED = re.compile(r"\s*([0-9]+\.?[0-9]*|\.[0-9]+)\s*([A-Za-z]{1,8})?\s*")


@dataclass(frozen=True)
class Price:
    """Price of a device-hour, and its source."""

    amount: float
    """Units of the currency."""
    currency: str
    """Code of the currency."""
    source: str
    """Source of the price, so that a reader can check it; `--price` for one that the command line states, which holds
    for all device-hours, whatever attempts recorded."""
    date: str
    """Day of the price, as YYYY-MM-DD."""


def price_of(plan: Plan) -> Price | None:
    """Return the price of a device-hour; None if neither the command line nor the config states one."""
    price = plan.price
    return None if price is None else Price(price.amount, price.currency, price.source, price.date.isoformat())


def parse_price(text: str, today: date) -> PriceConfig:
    """Return the price that `2.5`, `2.5EUR` or `2.5 EUR` states, as one of today; without a currency in USD.

    Raises ConfigError for any other text, and for an amount that is not above 0.
    """
    found = _STATED.fullmatch(text)
    amount = float(found[1]) if found else 0.0
    if found is None or not 0 < amount < inf:
        raise ConfigError(
            f"{OPTION} {text}: write the price of a device-hour as an amount above 0, with a currency if it is not "
            "USD: 2.5 or 2.5EUR"
        )
    return PriceConfig(amount=amount, currency=(found[2] or "USD").upper(), source=OPTION, date=today)


def charged_price(plan: Plan, recorded: RecordedPrice | None) -> float | None:
    """Return the price of a device-hour of an attempt, in the currency of the plan; None without a price.

    It is the one that the attempt recorded, unless that is in another currency or the command line states a price.
    """
    if plan.stated_price is None and recorded is not None and recorded.currency == plan.costs.currency:
        return recorded.amount
    return plan.costs.price_per_device_hour
