"""Comparison of the paradigms as text: on the terminal, and as the Markdown file of a report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from lrps.base.numbers import amount, count, device_time, loss, ratio
from lrps.costs.comparison import Comparison
from lrps.costs.heldout_loss import HeldoutLoss, mean_loss
from lrps.costs.paradigm_costs import ParadigmCosts
from lrps.costs.rehearsal_cost import rehearsal_lines
from lrps.costs.released_version import ReleasedVersion
from lrps.ledger.reader import RAW
from lrps.plan.initial_evaluation import INITIAL
from lrps.report.headline import headline
from lrps.report.summary import ONE_RUN, doubts, noticed_steps, other_histories, refused_forecast, still_to_do
from lrps.report.table import Column, Marked, Table, text_column
from lrps.report.tables.amendment_table import amendment_table
from lrps.report.tables.average_table import average_table
from lrps.report.tables.forgetting_table import forgetting_table
from lrps.report.tables.paired_table import paired_table
from lrps.report.tables.parts_table import parts_table
from lrps.report.tables.probe_table import probe_table
from lrps.report.tables.task_table import task_table
from lrps.report.tables.totals_table import totals_table
from lrps.report.tables.track_record_table import track_record_table
from lrps.report.tables.versions_table import version_costs_table
from lrps.report.tags import RATIOS, marked
from lrps.report.terminal import print_sentence, print_table


def print_comparison(comparison: Comparison) -> None:
    """Print the costs of the paradigms, the losses and costs of the versions, and what is still to do."""
    remarks = (
        *other_histories(comparison),
        *doubts(comparison),
        *noticed_steps(comparison),
        *refused_forecast(comparison),
    )
    for sentence in (headline(comparison), *remarks):
        print_sentence(sentence)
    print()
    print_table(paradigms_table(comparison))
    print_table(_losses_table(comparison))
    print_table(version_costs_table(comparison, for_terminal=True))
    measured = (forgetting_table(comparison), average_table(comparison), task_table(comparison))
    track_record = track_record_table(comparison.track_record or ())
    for table in (*measured, probe_table(comparison), track_record, amendment_table(comparison)):
        if table.rows:
            print_table(table)
    if any(paradigm.releases[-1].seen_loss is not None for paradigm in comparison.paradigms.values()):
        print_sentence(ONE_RUN)
    print_sentence(still_to_do(comparison))


def comparison_markdown(comparison: Comparison) -> str:
    """Return the comparison as a Markdown file."""
    totals = totals_table(comparison)
    parts = [
        f"# {comparison.plan.name}",
        headline(comparison, emphasis=True),
        *other_histories(comparison),
        *doubts(comparison),
        *noticed_steps(comparison),
        *refused_forecast(comparison),
        totals.to_markdown(),
        *totals.notes,
    ]
    parts += [*_rehearsal(comparison), ONE_RUN, still_to_do(comparison)]
    tables = (
        *(forgetting_table(comparison), paired_table(comparison), average_table(comparison)),
        *(task_table(comparison), probe_table(comparison), track_record_table(comparison.track_record or ())),
    )
    measured = (table for table in tables if table.rows)
    planned = (table for table in (amendment_table(comparison), parts_table(comparison.plan)) if table.rows)
    for table in (*planned, version_costs_table(comparison), *measured):
        parts += [f"## {table.title.capitalize()}", table.to_markdown(), *table.notes]
    return "\n\n".join(parts) + "\n"


def _rehearsal(comparison: Comparison) -> list[str]:
    return rehearsal_lines(comparison.rehearsal_cost, comparison.plan.currency)


def paradigms_table(comparison: Comparison) -> Table:
    """Return the costs of the paradigms and the losses that they bought for a terminal."""
    columns = list(_paradigm_columns(comparison))
    return Table(
        f"{comparison.plan.name}: comparison",
        (text_column("paradigm"), *(column for column, _ in columns)),
        tuple((name, *(cell(paradigm) for _, cell in columns)) for name, paradigm in comparison.paradigms.items()),
        (RATIOS, *_rehearsal(comparison)),
    )


def _paradigm_columns(comparison: Comparison) -> Iterator[tuple[Column, Callable[[ParadigmCosts], Any]]]:
    currency, newest = comparison.plan.currency, comparison.plan.versions[-1].name
    yield Column("steps", count), lambda p: p.plan.cost.steps
    yield Column("steps", ratio, unit="% of PTFS"), lambda p: p.plan.ratio_to_ptfs
    yield Column("steps", ratio, unit="% of CPT", priority=3), lambda p: p.plan.ratio_to_cpt
    yield Column("allocated device time", device_time), lambda p: _so_far(p, "device_hours")
    if currency:
        yield Column(f"measured {currency}", amount, priority=4), lambda p: _so_far(p, "money")
    yield Column("training time", ratio, unit="% of PTFS", priority=1), lambda p: p.ratios.training_to_ptfs
    yield Column("allocated", ratio, unit="% of PTFS", priority=2), lambda p: p.ratios.allocated_to_ptfs
    yield Column("repeated steps", count, priority=5), lambda p: p.measured.repeated_steps if p.measured else None
    if any(paradigm.estimate is not None for paradigm in comparison.paradigms.values()):
        yield Column("total device time", device_time), lambda p: marked(p.whole.device_hours, p.whole.basis)
        if currency:
            yield Column(f"total {currency}", amount, priority=4), lambda p: marked(p.whole.money, p.whole.basis)
    yield Column(f"held-out loss of {newest}", loss), lambda p: p.releases[-1].seen_loss


def _so_far(paradigm: ParadigmCosts, field: str) -> Any:
    if paradigm.measured is None:
        return None
    return Marked(getattr(paradigm.measured, field), "" if paradigm.complete else " so far")


def _losses_table(comparison: Comparison) -> Table:
    versions = comparison.plan.versions
    columns = (Column(version.name, priority=len(versions) - index) for index, version in enumerate(versions, 1))
    return Table(
        "held-out loss by version, with bits per byte",
        (text_column("paradigm"), *columns),
        (
            *([(INITIAL, *_initial_losses(comparison))] if comparison.initial_heldout else []),
            *((name, *map(_losses, paradigm.releases)) for name, paradigm in comparison.paradigms.items()),
        ),
        (
            "Loss: nats per token, mean over the held-out sets of all versions so far. In brackets: bits per byte on "
            "the version's own held-out set.",
            *_forms_note(comparison),
        ),
    )


def _forms_note(comparison: Comparison) -> Iterator[str]:
    """Yield an explanation of versions whose weights are no state of a path, if there are any."""
    releases = [each for paradigm in comparison.paradigms.values() for each in paradigm.releases]
    if any(each.form != RAW for each in releases):
        yield "ema: moving average of the main path's weights. merge: mean of several of its states."


def _losses(release: ReleasedVersion) -> str | None:
    text = _loss_text(release.seen_loss, release.heldout.get(release.version))
    return text if text is None or release.form == RAW else f"{text} {release.form}"


def _initial_losses(comparison: Comparison) -> Iterator[str | None]:
    """Yield what `_losses` returns of the versions, of the model that the plan starts from on the same sets."""
    heldout, versions = comparison.initial_heldout or {}, [version.name for version in comparison.plan.versions]
    for version in versions:
        yield _loss_text(mean_loss(heldout, versions[: versions.index(version) + 1]), heldout.get(version))


def _loss_text(mean: float | None, own: HeldoutLoss | None) -> str | None:
    if mean is None and own is None:
        return None
    return f"{loss(mean)} ({loss(own.bits_per_byte if own else None)})"
