"""Headline of a comparison: what all versions cost, what the others would, what the next one adds, what faults waste.

Terminal, page and Markdown file share its sentences. `**` encloses numbers that the page and Markdown emphasize.
"""

from __future__ import annotations

from lrps.base.amounts import NB, percentage
from lrps.base.numbers import count, loss
from lrps.costs.answers.bill import Bill
from lrps.costs.answers.budget_answers import BASES, WayOfTraining
from lrps.costs.answers.pace import unequal_speeds
from lrps.costs.comparison import Comparison
from lrps.report.cost_words import CostWords, listed, spoken

_BASES_EXPLAINED = {"ptfs": "training every version from scratch (PTFS)", "cpt": "continual pre-training (CPT)"}


def headline(comparison: Comparison, *, emphasis: bool = False) -> str:
    """Return the headline with all its sentences. emphasis: keep `**` around its main numbers, as Markdown does."""
    text = " ".join((*opening(comparison), *_waste(comparison), *_losses(comparison))).replace(NB, " ")
    return text if emphasis else text.replace("**", "")


def opening(comparison: Comparison) -> list[str]:
    """Return the sentences at the top of the page, with `**` around their main numbers."""
    return [_cost(comparison), *_ratios(comparison), *_speeds(comparison), *_next(comparison)]


def _cost(comparison: Comparison) -> str:
    answers, words = comparison.answers, CostWords(comparison.plan.currency)
    number = len(comparison.plan.versions)
    subject = f"{number} version{'s' if number > 1 else ''} by {spoken(answers.paradigm)}"
    whole, bill = answers.main.all_versions, answers.bill
    if bill is not None and answers.complete:
        time = words.time_beside(bill.device_hours)
        training = words.amount(bill.training_hours, bill.price_of(bill.training_hours))
        return (
            f"{subject} cost **{words.amount(bill.device_hours, bill.money)}**"
            f"{f' ({time} of device time)' if time else ' of device time'}, measured; {training} of it is training."
        )
    if bill is not None:
        done = f"{count(_counted(comparison))} of {count(whole.steps)} steps"
        spent = f"{words.amount(bill.device_hours, bill.money)} is spent so far, for {done}"
        return f"{subject} will cost about **{words.steps(whole)}** in training; {spent}."
    if whole.device_hours is None:
        known = "the hardware of the config gives none"
        return f"{subject} take **{words.steps(whole)}**. No cost has been measured yet, and {known}."
    basis = "No cost has been measured yet." if comparison.pace.source == "hardware" else "It is not trained yet."
    return f"{subject} will cost about **{words.steps(whole)}** in training. {basis}"


def _counted(comparison: Comparison) -> int:
    measured = comparison.paradigms[comparison.answers.paradigm].measured
    return measured.total_steps if measured else 0


def _ratios(comparison: Comparison) -> list[str]:
    main, unequal = comparison.answers.main, comparison.pace.unequal
    ratios = {"ptfs": main.ratio_to_ptfs, "cpt": main.ratio_to_cpt}
    compared = [
        f"**{percentage(ratios[kind])}** of what {_BASES_EXPLAINED[kind]} would" for kind in BASES if kind != main.kind
    ]
    return [f"{'At one speed, training' if unequal else 'Training'} takes {' and '.join(compared)}."]


def _speeds(comparison: Comparison) -> list[str]:
    if not comparison.pace.unequal:
        return []
    ran = _as_it_ran(comparison.answers.main)
    return [f"{unequal_speeds(comparison.pace)}{f'; as it ran, training took {ran}' if ran else ''}."]


def _as_it_ran(way: WayOfTraining) -> str:
    ratios = {"ptfs": way.measured_ratio_to_ptfs, "cpt": way.measured_ratio_to_cpt}
    return listed(
        [f"{percentage(ratios[kind])} of {spoken(kind)}" for kind in BASES if kind != way.kind and ratios[kind]]
    )


def _next(comparison: Comparison) -> list[str]:
    cost = comparison.answers.main.next_version
    return [f"The next version adds **{CostWords(comparison.plan.currency).steps(cost)}**."]


def _waste(comparison: Comparison) -> list[str]:
    bill = comparison.answers.bill
    return [] if bill is None else [f"Faults and start-up cost {_wasted(comparison, bill)}."]


def _wasted(comparison: Comparison, bill: Bill) -> str:
    words = CostWords(comparison.plan.currency)
    amount = words.amount(bill.waste_hours, bill.price_of(bill.waste_hours))
    part = percentage(bill.waste_hours / bill.device_hours) if bill.device_hours else "0%"
    return f"**{amount}**, {part} of the bill{'' if comparison.answers.complete else ' so far'}"


def _losses(comparison: Comparison) -> list[str]:
    """Return the mean held-out loss of the newest version, of every paradigm where it was measured."""
    known = [
        f"{spoken(way.name)} {loss(way.seen_loss)}" for way in comparison.answers.ways if way.seen_loss is not None
    ]
    version = comparison.plan.versions[-1].name
    return [f"Held-out loss of {version}, mean over all versions: {', '.join(known)}."] if known else []
