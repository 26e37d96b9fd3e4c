"""The first screen: its cards, its warning and its tables in runs that are finished, uneven, half done and planned."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from lrps.base.amounts import NB
from lrps.costs.comparison import Comparison, make_comparison
from lrps.report.first_screen.cards import Card, cards
from lrps.report.first_screen.ratio_table import one_speed, ratio_rows, warning
from lrps.report.first_screen.screen import FirstScreen, strong
from lrps.report.page import render_page

SLOW = {"cpt-v2": 5.5, "cpt-v3": 8.1, "cpt-v4": 8.5, "ptfs-v4": 2.3}


@pytest.fixture
def uneven(make: Any, formulas: Any, monkeypatch: pytest.MonkeyPatch) -> Comparison:
    """A finished run whose paths in SLOW took this many times as long for a step; branch-v2 failed once."""
    plan, usual = make(hardware=formulas.PRICED), formulas.SECONDS_A_STEP
    for path in plan.graph.paths:
        monkeypatch.setattr(formulas, "SECONDS_A_STEP", usual * SLOW.get(path.name, 1.0))
        formulas.Run(plan).train([path.name], fail_at={"branch-v2": (900, 800)})
    return make_comparison(plan)


def said(card: Card) -> str:
    """All texts of a card."""
    amounts = [f"{amount.text} [{amount.below}] {amount.basis or ''}" for amount in card.amounts]
    return " | ".join((card.title, *amounts, *card.lines, card.note)).replace(NB, " ").replace("**", "")


def test_the_cards_answer_four_questions(uneven: Comparison) -> None:
    every, others, more, waste = map(said, cards(uneven))
    assert every == (
        "All 4 versions cost | EUR 0.100 [3 min 0 s] measured | EUR 0.0580 training + EUR 0.0420 starting, "
        "evaluating, saving, faults | All ways of this comparison together: EUR 0.520."
    )
    assert others == (
        "Other ways would cost | EUR 0.100 [PTFS, 3 min 0 s]  | EUR 0.0400 [CPT, 1 min 12 s] modelled | Training, at "
        "the speed of path switching; the EUR 0.0580 of path switching is 58.0% of PTFS's and 145.0% of CPT's. | "
    )
    assert more == (
        "The next version costs | EUR 0.0160 [28.8 s] modelled | training, 800 steps at the measured 36.0 ms each, as "
        "large as v4 | PTFS would add EUR 0.0500, CPT would add EUR 0.0100. | "
    )
    assert waste == (
        "Faults and start-up cost | EUR 0.0353 [1 min 4 s] measured | 35.3% of the bill: faults EUR 0.00200 (100 steps "
        "repeated), start-up EUR 0.0333 | "
    )


def test_the_uses_of_the_bill_fill_the_bar(uneven: Comparison) -> None:
    uses = cards(uneven)[3].uses
    assert [use.name for use in uses] == ["training", "saving, other", "start-up", "faults"]
    assert uses[0].place == 0
    assert uses[-1].place + uses[-1].width == pytest.approx(1000)


def test_the_warning_names_the_range_and_the_outliers(uneven: Comparison) -> None:
    found = warning(uneven)
    assert found is not None
    assert found[0] == "Speeds differed 8.5-fold."
    assert found[1].replace(NB, " ") == (
        "A step took from 36.0 ms to 306 ms of device time, so the times as they ran compare machines, not ways of "
        "training: go by the ratios at one speed. At another speed than path switching: cpt-v4 (8.5×), cpt-v3 (8.1×), "
        "cpt-v2 (5.5×), ptfs-v4 (2.3×)."
    )
    assert 'class="warn"' in render_page(uneven)


def test_a_warning_names_eight_paths_at_most(uneven: Comparison) -> None:
    paths = {f"p{k}": replace(uneven.pace.paths["cpt-v4"], ratio=9.0 + k) for k in range(11)}
    found = warning(replace(uneven, pace=replace(uneven.pace, paths=paths | dict(uneven.pace.paths))))
    assert found is not None
    assert found[1].endswith("p3 (12.0×) and 7 more.")


def test_at_even_speeds_there_is_no_warning_and_no_doubt(trained: Any) -> None:
    comparison = make_comparison(trained)
    assert warning(comparison) is None
    page = render_page(comparison)
    assert "⚠" not in page
    assert 'class="warn"' not in page
    for row in ratio_rows(comparison, FirstScreen(comparison).slots):
        assert row.to_ptfs == row.to_ptfs_as_it_ran or row.name == "CPT", "150 steps of CPT were repeated"


def test_ratios_at_one_speed_come_first_and_doubtful_ones_are_marked(uneven: Comparison) -> None:
    rows = {row.name: row for row in ratio_rows(uneven, FirstScreen(uneven).slots)}
    ours = rows["path switching"]
    assert (ours.is_main, ours.to_ptfs, ours.to_cpt, ours.cost, ours.steps) == (
        True,
        "58.0%",
        "145.0%",
        "0.0580",
        "2,900",
    )
    assert (ours.to_ptfs_as_it_ran, ours.to_cpt_as_it_ran) == ("39.5% ⚠", "26.0% ⚠")
    assert (rows["PTFS"].to_ptfs_as_it_ran, rows["CPT"].slower) == ("100.0%", "5.8×")
    assert one_speed(uneven).replace(NB, " ") == (
        "One speed: the 36.0 ms of device time that a step of path switching took on average; equal steps are equal "
        "FLOPs."
    )


def test_a_half_done_run_costs_training_alone(make: Any, formulas: Any) -> None:
    plan = make(hardware=formulas.PRICED)
    formulas.Run(plan).train(["main"])
    every, *_, waste = cards(make_comparison(plan))
    assert (every.basis, waste.basis) == ("modelled", "measured")
    assert "EUR 0.0580 [1 min 44 s] modelled | 2,900 steps, training alone | EUR 0.0407 is spent so far" in said(every)


def test_long_runs_have_wall_clock_time(make: Any, formulas: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formulas, "SECONDS_A_STEP", 3600.0)
    plan = make(hardware=formulas.PRICED)
    formulas.Run(plan).train()
    assert "| 60.4 days on 2 devices |" in said(cards(make_comparison(plan))[0])


def test_a_plan_of_path_switching_alone_is_compared_all_the_same(make: Any, formulas: Any) -> None:
    plan = make(paradigms={"path-switching": {}}, versions=1)
    formulas.Run(plan).train()
    comparison = make_comparison(plan)
    assert [row.name for row in ratio_rows(comparison, FirstScreen(comparison).slots)] == [
        "path switching",
        "PTFS",
        "CPT",
    ]
    assert "The version costs | 42.0 s [] measured" in said(cards(comparison)[0])
    assert "PTFS would add 36.0 s, CPT would add 18.0 s." in said(cards(comparison)[2])
    assert "is 100.0% of PTFS's and 100.0% of CPT's." in said(cards(comparison)[1])
    assert FirstScreen(comparison).title == "small: what 1 version cost"
    assert len(re.findall(r'class="part main">100.0%', render_page(comparison))) == 6, "two tables of three rows"


def test_names_cannot_end_the_data_or_become_markup() -> None:
    assert strong("a <i> **b & c**") == "a &lt;i&gt; <b>b &amp; c</b>"


def test_a_currency_cannot_end_the_data(make: Any) -> None:
    price = {"amount": 1.0, "currency": "</scri", "source": "s", "date": "2026-01-31"}
    page = render_page(make_comparison(make(hardware={"device": "cpu", "price_per_device_hour": price})))
    assert page.count("</scri") == page.count("</script>") == 2
