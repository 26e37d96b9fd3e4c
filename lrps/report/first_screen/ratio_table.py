"""Table of the first screen: training of every way at one speed, and as it ran beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lrps.base.amounts import bill_time, factor, percentage
from lrps.base.numbers import NOT_APPLICABLE, count, loss
from lrps.costs.answers.budget_answers import WayOfTraining
from lrps.costs.answers.pace import unequal_speeds
from lrps.costs.comparison import Comparison
from lrps.report.cost_words import CostWords, spoken

_NAMED = 8
"""Number of paths that a warning names."""
_DOUBT = " ⚠"


@dataclass(frozen=True)
class RatioRow:
    """Row of one way of training, as text."""

    name: str
    slot: int
    """Number of its colour."""
    is_main: bool
    to_ptfs: str
    to_cpt: str
    cost: str
    steps: str
    time_as_it_ran: str
    to_ptfs_as_it_ran: str
    to_cpt_as_it_ran: str
    doubt_ptfs: bool
    """True if the ratio to PTFS as it ran compares machines."""
    doubt_cpt: bool
    """True if the ratio to CPT as it ran compares machines."""
    slower: str
    seen_loss: str


def ratio_rows(comparison: Comparison, slots: Mapping[str, int]) -> list[RatioRow]:
    """Return a row for each way of training. slots: number of its colour, by name."""
    words, answers = CostWords(comparison.plan.currency), comparison.answers
    return [_row(way, words, slots[way.name], way.name == answers.paradigm) for way in answers.ways]


def _row(way: WayOfTraining, words: CostWords, slot: int, is_main: bool) -> RatioRow:
    cost = way.all_versions
    prefix = f"{words.currency}\N{NO-BREAK SPACE}"
    doubts = (
        way.unequal_to_ptfs and way.measured_ratio_to_ptfs is not None,
        way.unequal_to_cpt and way.measured_ratio_to_cpt is not None,
    )
    return RatioRow(
        name=spoken(way.name),
        slot=slot,
        is_main=is_main,
        to_ptfs=percentage(way.ratio_to_ptfs),
        to_cpt=percentage(way.ratio_to_cpt),
        cost=words.amount(cost.device_hours, cost.money).replace(prefix, ""),
        steps=count(cost.steps),
        time_as_it_ran=bill_time(way.training_hours),
        to_ptfs_as_it_ran=percentage(way.measured_ratio_to_ptfs) + (_DOUBT if doubts[0] else ""),
        to_cpt_as_it_ran=percentage(way.measured_ratio_to_cpt) + (_DOUBT if doubts[1] else ""),
        doubt_ptfs=doubts[0],
        doubt_cpt=doubts[1],
        slower=NOT_APPLICABLE if way.slowness is None else f"{factor(way.slowness)}×",
        seen_loss=loss(way.seen_loss),
    )


def one_speed(comparison: Comparison) -> str:
    """Return the sentence that says which speed the ratios are at."""
    pace = comparison.pace
    step = bill_time(pace.hours(1))
    if pace.source is None:
        return "Equal steps are equal FLOPs. No speed is known yet."
    if pace.source == "hardware":
        return f"One speed: {step} of device time a step, by the hardware of the config; equal steps are equal FLOPs."
    whose = f"that a step of {spoken(pace.paradigm)} took on average" if pace.paradigm else "of the median step"
    ends = (pace.lowest_device_seconds_per_step, pace.highest_device_seconds_per_step)
    low, high = (bill_time((end or 0.0) / 3600) for end in ends)
    span = f" ({low} to {high} by path)" if low != high else ""
    return f"One speed: the {step} of device time {whose}{span}; equal steps are equal FLOPs."


def warning(comparison: Comparison) -> tuple[str, str] | None:
    """Return the head and the text of the warning about unequal speeds; None if there is none."""
    pace, answers = comparison.pace, comparison.answers
    if not pace.unequal:
        return None
    head, times = unequal_speeds(pace).split(": a step")
    if any(row.doubt_ptfs or row.doubt_cpt for row in ratio_rows(comparison, dict.fromkeys(_names(comparison), 0))):
        effect = ", so the times as they ran compare machines, not ways of training: go by the ratios at one speed."
    else:
        effect = "; what is modelled from the mean may be off by as much."
    named = [f"{name} ({factor(ratio)}×)" for name, ratio in pace.outliers.items()]
    more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    than = spoken(pace.paradigm or answers.paradigm) if pace.paradigm else "the median"
    return f"{head}.", f"A step{times}{effect} At another speed than {than}: {', '.join(named[:_NAMED])}{more}."


def _names(comparison: Comparison) -> list[str]:
    return [way.name for way in comparison.answers.ways]
