"""Cost of writing rehearsal sets: it is in the report once, and in no cost of a path."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lrps.costs.compare import compare_runs
from lrps.costs.comparison import make_comparison
from lrps.costs.rehearsal_cost import RehearsalCost, WrittenSet, dropped_counts, rehearsal_cost, rehearsal_lines
from lrps.ledger.writer import book_event
from lrps.plan.plan import Plan
from lrps.report.comparison_text import comparison_markdown, print_comparison
from lrps.report.page import render_page

PAID = {"amount": 4.0, "currency": "EUR"}


def book(plan: Plan, name: str, seconds: float, **facts: Any) -> None:
    book_event(plan.layout.ledger, "rehearsal", 0, seconds, set=name, **facts)


def test_there_is_none_before_the_first_set(make: Any) -> None:
    plan = make()
    assert rehearsal_cost(plan) is None
    book_event(plan.layout.ledger, "export", 7, 3600.0)
    assert rehearsal_cost(plan) is None, "of something else"
    assert rehearsal_lines(None, "EUR") == []


def test_sets_are_added_up_at_the_price_that_each_recorded(make: Any, formulas: Any) -> None:
    plan = make(hardware=formulas.PRICED)  # 2 EUR
    book(plan, "r2", 1800.0, price=PAID, generator="hf")
    book(plan, "r1", 900.0, price={**PAID, "currency": "USD"}, generator="server")
    book(plan, "r1", 900.0)
    assert rehearsal_cost(plan) == RehearsalCost(device_hours=1.0, money=3.0, sets=("r1", "r2"), by_server=("r1",))


def test_money_is_unknown_without_a_price(make: Any) -> None:
    plan = make()
    book(plan, "r", 3600.0, price=PAID)
    cost = rehearsal_cost(plan)
    assert cost is not None
    assert cost.money is None
    (line,) = rehearsal_lines(cost, None)
    assert line == (
        "Rehearsal: 1 device-hours to write r (lrps rehearse). They are not part of the costs of paths, paradigms and "
        "versions."
    )


def test_every_form_of_the_report_tells_it(make: Any, formulas: Any, capsys: pytest.CaptureFixture[str]) -> None:
    plan = make(hardware=formulas.PRICED)
    formulas.Run(plan).train()
    before = make_comparison(plan)
    book(plan, "r", 1800.0, price=PAID, generator="server")
    comparison = make_comparison(plan)
    (line,) = rehearsal_lines(comparison.rehearsal_cost, comparison.plan.currency)
    assert line.startswith("Rehearsal: 0.5 device-hours (2 EUR) to write r (lrps rehearse)")
    assert line.endswith("The devices of the server that wrote r are not counted.")
    print_comparison(comparison)
    printed = " ".join(capsys.readouterr().out.split())
    texts = (printed, comparison_markdown(comparison), render_page(comparison))
    assert [line in text for text in texts] == [True] * 3
    assert [note for note in compare_runs([plan]).notes if line in note]
    assert replace(comparison, rehearsal_cost=None) == before, "it is in no cost of a path, a paradigm or a version"


def test_what_became_of_generations_is_counted_by_reason() -> None:
    counts = {
        "parsed": {"dropped": {"cut off": 3, "no pair": 0}, "duplicates": 2, "instances": 9},
        "refined": {"dropped": {"long": 1}, "duplicates": 0, "held_out": 4, "candidates": 4},
    }
    assert dropped_counts(counts) == {
        "cut off when read": 3,
        "duplicates when read": 2,
        "long when refined": 1,
        "held out": 4,
    }
    cost = RehearsalCost(
        1.0, None, ("r",), (), (WrittenSet("r", 12, 4, dropped_counts(counts)), WrittenSet("s", 1, 1, {}))
    )
    assert rehearsal_lines(cost, None)[1:] == [
        "r: 4 documents of 12 generations; dropped: 3 cut off when read, 2 duplicates when read, 1 long when refined, "
        "4 held out.",
        "s: 1 documents of 1 generations; dropped: nothing.",
    ]
