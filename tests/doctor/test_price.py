"""How old a price is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest

from lrps.config.models import Config
from lrps.doctor.examination import Subject
from lrps.doctor.price import check_price
from lrps.plan.plan import make_plan


def findings(make_config: Callable[..., Config], hardware: dict[str, Any] | None) -> dict[str, str]:
    plan = make_plan(make_config(hardware=hardware))
    return {finding.name: finding.state for finding in check_price(Subject(plan))}


def test_what_is_not_given_is_told(make_config: Callable[..., Config]) -> None:
    assert list(check_price(Subject())) == []
    assert findings(make_config, None) == {"hardware": "warn"}
    assert findings(make_config, {"device": "cpu"}) == {"hardware": "warn", "price": "warn"}


@pytest.mark.parametrize(("days", "state"), [(0, "ok"), (364, "ok"), (366, "warn"), (-2, "warn")])
def test_an_old_price_is_told(make_config: Callable[..., Config], days: int, state: str) -> None:
    price = {"amount": 2.5, "source": "a contract", "date": str(date.today() - timedelta(days))}
    assert findings(make_config, {"device": "H100", "price_per_device_hour": price}) == {"price": state}
