"""Prices of a device-hour: what `--price` accepts, and which price an attempt is charged."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.base.errors import ConfigError
from lrps.costs.comparison import make_comparison
from lrps.costs.price import Price, charged_price, parse_price, price_of
from lrps.costs.rehearsal_cost import rehearsal_cost
from lrps.ledger.totals import RecordedPrice
from lrps.ledger.writer import book_event

TODAY = date(2026, 3, 4)


@given(
    st.decimals("0.0001", "1000000", places=4),
    st.sampled_from(["", " ", "  "]),
    st.from_regex("[A-Za-z]{1,8}", fullmatch=True) | st.just(""),
)
def test_a_price_is_an_amount_and_a_currency(amount: Any, blank: str, currency: str) -> None:
    price = parse_price(f"{amount}{blank}{currency}", TODAY)
    assert (price.amount, price.currency) == (float(amount), currency.upper() or "USD")
    assert (price.source, price.date) == ("--price", TODAY)


@pytest.mark.parametrize(
    "text", ["", "EUR", "EUR 2", "0", "0.0USD", "-1", "nan", "inf", "2,5", "$2", "2.5 EURO/h", "1 2", "9" * 400]
)
def test_other_texts_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match="2.5EUR"):
        parse_price(text, TODAY)


@pytest.mark.parametrize(
    ("recorded", "charged"), [(None, 2.0), (RecordedPrice(4.0, "EUR"), 4.0), (RecordedPrice(4.0, "USD"), 2.0)]
)
def test_an_attempt_is_charged_what_it_recorded_in_the_currency_of_the_plan(
    make: Any, formulas: Any, recorded: RecordedPrice | None, charged: float
) -> None:
    plan = make(hardware=formulas.PRICED)  # 2 EUR
    assert charged_price(plan, recorded) == charged
    assert charged_price(replace(plan, stated_price=parse_price("7", TODAY)), recorded) == 7.0
    assert charged_price(make(), recorded) is None


@pytest.mark.parametrize("priced", [True, False], ids=["a price in the config", "no hardware"])
def test_a_stated_price_is_that_of_every_device_hour(make: Any, formulas: Any, priced: bool) -> None:
    plan = make(hardware=formulas.PRICED) if priced else make()
    formulas.Run(plan).train(["ptfs-v1", "ptfs-v2"])
    book_event(plan.layout.ledger, "rehearsal", 0, 1800.0, set="r", price={"amount": 4.0, "currency": "EUR"})
    stated = replace(plan, stated_price=parse_price("2.5 CHF", TODAY))
    comparison = make_comparison(stated)
    assert comparison.price == price_of(stated) == Price(2.5, "CHF", "--price", "2026-03-04")
    assert comparison.plan.currency == "CHF"
    measured, rehearsal = comparison.graph.measured, rehearsal_cost(stated)
    assert measured is not None
    assert rehearsal is not None
    assert (measured.money, measured.money_basis) == (pytest.approx(2.5 * measured.device_hours), "--price")
    assert rehearsal.money == 2.5 * 0.5
    for paradigm in comparison.paradigms.values():
        assert paradigm.whole.device_hours is not None
        assert paradigm.whole.money == pytest.approx(2.5 * paradigm.whole.device_hours)
