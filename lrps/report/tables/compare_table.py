"""Table of the paradigms of several runs side by side, for `lrps compare`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any

from lrps.base.amounts import factor
from lrps.base.document import json_key
from lrps.base.numbers import amount, count, device_time, flops, loss, ratio, short
from lrps.costs.compare import CompareDocument, ComparedValue, ComparedValues
from lrps.report.table import Column, Table, text_column
from lrps.report.tags import RATIOS, START_UP, legend, marked

_Value = Callable[[ComparedValues], ComparedValue]


def compare_table(document: CompareDocument, *, for_terminal: bool = False) -> Table:
    """Return the paradigms as a table; of several runs, with the run before the paradigm's name.

    for_terminal: with device time in the unit that fits it.
    """
    columns = list(_columns(document, for_terminal))
    return Table(
        "paradigms side by side, all versions together",
        (text_column("paradigm", wraps=True), *(column for column, _ in columns)),
        tuple(
            (_name(document, index), *(_cell(value(row.values)) for _, value in columns))
            for index, row in enumerate(document.rows)
        ),
        tuple(_notes(document)),
    )


def _name(document: CompareDocument, index: int) -> str:
    row = document.rows[index]
    name = f"{row.run}: {row.paradigm}" if len(document.runs) > 1 else row.paradigm
    return name if row.in_config else f"{name} (not in the config)"


def _cell(value: ComparedValue) -> Any:
    return marked(value.value, None if value.basis == "n/a" else value.basis)


def _columns(document: CompareDocument, for_terminal: bool) -> Iterator[tuple[Column, _Value]]:
    yield Column("steps", count), lambda v: v.steps
    yield Column("tokens", short, priority=4), lambda v: v.tokens
    yield Column("FLOPs", flops, priority=6), lambda v: v.flops
    hours = Column("device time", device_time) if for_terminal else Column("device-hours", amount)
    yield hours, lambda v: v.device_hours
    if currencies := {run.currency for run in document.runs if run.currency}:
        yield Column("/".join(sorted(currencies)), amount, priority=3), lambda v: v.money
    yield Column("kWh", amount, priority=6), lambda v: v.energy_kwh
    yield Column("goodput", ratio, priority=2), lambda v: v.goodput
    training = "training time" if for_terminal else "training device-hours"
    yield Column(training, ratio, unit="% of PTFS", priority=1), lambda v: v.ratio_to_ptfs
    yield Column(training, ratio, unit="% of CPT", priority=2), lambda v: v.ratio_to_cpt
    allocated = "allocated" if for_terminal else "allocated device-hours"
    yield Column(allocated, ratio, unit="% of PTFS", priority=5), lambda v: v.allocated_ratio_to_ptfs
    yield Column(allocated, ratio, unit="% of CPT", priority=5), lambda v: v.allocated_ratio_to_cpt
    newest = f" of {document.runs[0].versions[-1]}" if len(document.runs) == 1 else ""
    yield Column(f"held-out loss{newest}", loss), lambda v: v.seen_loss


def _notes(document: CompareDocument) -> Iterator[str]:
    """Yield what the numbers are based on, a sentence at a time."""
    modelled = {run for run, values in _by_run(document) if "modelled" in {value.basis for value in values}}
    yield "Numbers without a mark are measured." if modelled else "All numbers are measured."
    for run in document.runs:
        if run.name in modelled:
            yield f"{run.name}: {legend(run.cost_model)}" if len(document.runs) > 1 else legend(run.cost_model)
    yield RATIOS
    bases = {row.values.device_hours.basis for row in document.rows}
    if "n/a" in bases:
        yield "Where no device-hours are known, ratios of training time are those of steps."
    if "measured" in bases:
        yield START_UP
    for run in document.runs:
        if run.unequal_speed is not None:
            yield (
                f"{run.name}: speeds of its paths differed {factor(run.unequal_speed)}-fold, so that ratios of its "
                "device time compare machines as well; `lrps report` has the ratios at one speed"
            )
    yield from document.notes


def _by_run(document: CompareDocument) -> Iterator[tuple[str, list[ComparedValue]]]:
    for row in document.rows:
        yield row.run, list(_by_key(row.values).values())


def _by_key(values: ComparedValues) -> Mapping[str, ComparedValue]:
    return {json_key(each): getattr(values, each.name) for each in fields(values)}


def compare_records(document: CompareDocument) -> Table:
    """Return the paradigms in raw values, each followed by its basis."""
    keys = [json_key(each) for each in fields(ComparedValues)]
    currencies = {run.name: run.currency for run in document.runs}
    rows = (
        (
            *(row.run, row.paradigm, row.kind, currencies[row.run]),
            *(part for value in _by_key(row.values).values() for part in (value.value, value.basis)),
        )
        for row in document.rows
    )
    columns = ("run", "paradigm", "kind", "currency", *(name for key in keys for name in (key, f"{key}_basis")))
    return Table("paradigms side by side", tuple(map(Column, columns)), tuple(rows))


def _markdown(document: CompareDocument) -> str:
    table = compare_table(document)
    return "\n\n".join((table.to_markdown(), *table.notes)) + "\n"


FORMATS: Mapping[str, tuple[str, Callable[[CompareDocument], str]]] = {
    "md": ("compare.md", _markdown),
    "csv": ("compare.csv", lambda document: compare_records(document).to_csv()),
}
"""File and writer of each format."""
