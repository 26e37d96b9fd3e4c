"""Four cards of the first screen, one for each question of a budget owner."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from lrps.base.amounts import bill_time, percentage, wall_time
from lrps.base.numbers import NOT_APPLICABLE, count
from lrps.costs.answers.bill import Bill
from lrps.costs.answers.budget_answers import BASES, BudgetAnswers, WayOfTraining
from lrps.costs.comparison import Comparison
from lrps.report.cost_words import CostWords, listed, spoken

Basis = Literal["measured", "modelled"]
_WALL_HOURS = 48
"""Number of wall-clock hours from which they are given beside device time."""


@dataclass(frozen=True)
class Amount:
    """Number in large type, with a line below it."""

    text: str
    below: str = ""
    basis: Basis | None = None
    """Word behind the line; None for none."""


@dataclass(frozen=True)
class BillShare:
    """Part of a bill."""

    name: str
    share: str
    width: float
    """Width in a bar of 1,000 units."""
    place: float
    """Left edge in the bar."""
    style: int
    """Number of its colour."""


@dataclass(frozen=True)
class Card:
    """Card whose heading and amounts read as one sentence."""

    title: str
    amounts: tuple[Amount, ...]
    lines: tuple[str, ...]
    """Sentences, with `**` around their main numbers."""
    basis: Basis
    """Kind of the border: solid for measured, dashed for modelled."""
    note: str = ""
    """Sentence in a quiet colour."""
    uses: tuple[BillShare, ...] = ()
    """Parts of the bill, for a bar."""


def cards(comparison: Comparison) -> tuple[Card, ...]:
    """Return the cards of a comparison."""
    words = CostWords(comparison.plan.currency)
    return (_all(comparison, words), _others(comparison, words), _next(comparison, words), _waste(comparison, words))


def _all(comparison: Comparison, words: CostWords) -> Card:
    answers, number = comparison.answers, len(comparison.plan.versions)
    title = f"All {number} versions cost" if number > 1 else "The version costs"
    whole, bill, run = answers.main.all_versions, answers.bill, answers.run_bill
    note = ""
    if run is not None:
        note = f"All ways of this comparison together: {words.amount(run.device_hours, run.money)}."
    if bill is None or not answers.complete:
        time = words.time_beside(whole.device_hours)
        amount = Amount(words.steps(whole), time or _unknown(whole.device_hours), _modelled(whole.device_hours))
        spent = [] if bill is None else [f"**{words.amount(bill.device_hours, bill.money)}** is spent so far"]
        alone = "training alone" if whole.device_hours is None else f"{count(whole.steps)} steps, training alone"
        lines = [alone, *_wall(comparison, whole.device_hours), *spent]
        return Card(title, (amount,), tuple(lines), "modelled", note)
    amount = Amount(words.amount(bill.device_hours, bill.money), words.time_beside(bill.device_hours), "measured")
    rest = bill.device_hours - bill.training_hours
    training = words.amount(bill.training_hours, bill.price_of(bill.training_hours))
    faults = ", faults" if bill.repeated_steps else ""
    line = f"**{training}** training + {words.amount(rest, bill.price_of(rest))} starting, evaluating, saving{faults}"
    return Card(title, (amount,), (line, *_wall(comparison, bill.device_hours)), "measured", note)


def _unknown(hours: float | None) -> str:
    return "no speed and no price yet" if hours is None else ""


def _modelled(hours: float | None) -> Basis | None:
    return None if hours is None else "modelled"


def _wall(comparison: Comparison, hours: float | None) -> list[str]:
    """Return the wall-clock time of device-hours that take days, if the number of devices is known."""
    measured = comparison.graph.measured
    devices = measured.processes if measured else 0
    return [wall_time(hours, devices)] if hours and devices and hours / devices >= _WALL_HOURS else []


def _others(comparison: Comparison, words: CostWords) -> Card:
    answers, pace = comparison.answers, comparison.pace
    main, others = answers.main, _groups(answers, lambda way: way.all_versions.steps)
    amounts = []
    for ways in others:
        cost, names = ways[0].all_versions, listed([spoken(way.name) for way in ways])
        time = words.time_beside(cost.device_hours)
        amounts.append(Amount(words.steps(cost), f"{names}, {time}" if time else names))
    own, ratios = words.steps(main.all_versions), {"ptfs": main.ratio_to_ptfs, "cpt": main.ratio_to_cpt}
    shares = [f"**{percentage(ratios[kind])}** of {spoken(kind)}'s" for kind in BASES if kind != main.kind]
    if pace.device_seconds_per_step is None:
        return Card("Other ways would cost", tuple(amounts), (f"Its own {own} are {listed(shares)}.",), "modelled")
    speed = f"the speed of {spoken(pace.paradigm)}" if pace.paradigm else "one speed"
    line = f"Training, at {speed}; the {own} of {spoken(main.name)} is {listed(shares)}."
    amounts[-1] = Amount(amounts[-1].text, amounts[-1].below, "modelled")
    return Card("Other ways would cost", tuple(amounts), (line,), "modelled")


def _groups(answers: BudgetAnswers, steps: Callable[[WayOfTraining], int]) -> list[list[WayOfTraining]]:
    """Return the ways of training other than the main one, those with the same number of steps together."""
    groups: dict[int, list[WayOfTraining]] = {}
    for way in answers.ways:
        if way.name != answers.paradigm:
            groups.setdefault(steps(way), []).append(way)
    return list(groups.values())


def _next(comparison: Comparison, words: CostWords) -> Card:
    answers, pace = comparison.answers, comparison.pace
    cost = answers.main.next_version
    time = words.time_beside(cost.device_hours)
    amount = Amount(words.steps(cost), time or _unknown(cost.device_hours), _modelled(cost.device_hours))
    kind = {"measured": "measured", "hardware": "planned", None: ""}[pace.source]
    speed = f" at the {kind} {bill_time(pace.hours(1))} each" if kind else ""
    newest = comparison.plan.versions[-1].name
    others = [
        f"{listed([spoken(way.name) for way in ways])} would add **{words.steps(ways[0].next_version)}**"
        for ways in _groups(answers, lambda way: way.next_version.steps)
    ]
    lines = (f"training, {count(cost.steps)} steps{speed}, as large as {newest}", f"{', '.join(others)}.")
    return Card("The next version costs", (amount,), lines, "modelled")


def _waste(comparison: Comparison, words: CostWords) -> Card:
    bill, title = comparison.answers.bill, "Faults and start-up cost"
    if bill is None:
        return Card(title, (Amount(NOT_APPLICABLE),), ("Nothing was measured yet.",), "modelled")
    waste, faults, starting = (
        words.amount(hours, bill.price_of(hours))
        for hours in (bill.waste_hours, bill.repeating_hours, bill.starting_hours)
    )
    steps = f"{count(bill.repeated_steps)} steps repeated"
    longest = f", most of it one path's: {bill.longest_start}" if bill.longest_start else ""
    part = percentage(bill.waste_hours / bill.device_hours) if bill.device_hours else percentage(0.0)
    line = f"**{part}** of the bill: faults {faults} ({steps}), start-up {starting}{longest}"
    amount = Amount(waste, words.time_beside(bill.waste_hours), "measured")
    return Card(title, (amount,), (line,), "measured", uses=tuple(_uses(bill)))


def _uses(bill: Bill) -> Iterator[BillShare]:
    """Yield the parts of a bill that are not 0."""
    hours = (bill.training_hours, bill.evaluating_hours, bill.other_hours, bill.starting_hours, bill.repeating_hours)
    place = 0.0
    for style, (name, each) in enumerate(
        zip(("training", "evaluating", "saving, other", "start-up", "faults"), hours, strict=True)
    ):
        if each > 0 and bill.device_hours > 0:
            width = 1000 * each / bill.device_hours
            yield BillShare(name, percentage(each / bill.device_hours), width, place, style)
            place += width
