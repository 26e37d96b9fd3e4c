"""The table of totals, one row a paradigm, and what versions cost, as CSV, Markdown and LaTeX. The page and the
terminal show parts of it.

CSV keeps numbers as they are, with the unit in the column's name; the others write them for people. `total` is measured
where a paradigm was trained to its end, and else modelled: its basis says which.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lrps.base.numbers import NOT_APPLICABLE, amount, count, flops, loss, ratio, short
from lrps.costs.comparison import Comparison
from lrps.costs.paradigm_costs import ParadigmCosts
from lrps.costs.rehearsal_cost import rehearsal_lines
from lrps.report import forgetting_table, task_table
from lrps.report.summary import ONE_RUN, headline, still_to_do
from lrps.report.tags import MODELLED, RATIOS, START_UP, legend, tag, tagged, whole_cost
from lrps.report.versions_table import EXPLAINED, TITLE, records, shown


@dataclass(frozen=True)
class Column:
    """key: name in the CSV, unit included. head: title for people. read: the value of a paradigm; None is n/a. basis:
    of that value; what is modelled is marked for people."""

    key: str
    head: str
    read: Callable[[ParadigmCosts], Any]
    show: Callable[[Any], str]
    basis: Callable[[ParadigmCosts], Any] = lambda _: "measured"


def _measured(key: str) -> Callable[[ParadigmCosts], Any]:
    return lambda paradigm: None if paradigm.measured is None else getattr(paradigm.measured, key)


def _planned(key: str) -> Callable[[ParadigmCosts], Any]:
    return lambda paradigm: getattr(paradigm.plan, key)


def _cost(key: str) -> Callable[[ParadigmCosts], Any]:
    return lambda paradigm: getattr(paradigm.plan.cost, key)


def _ratios(key: str) -> Callable[[ParadigmCosts], Any]:
    return lambda paradigm: getattr(paradigm.ratios, key)


def _total(key: str) -> Callable[[ParadigmCosts], Any]:
    return lambda paradigm: getattr(whole_cost(paradigm), key)


def _modelled(key: str, head: str, read: str) -> Column:
    """A planned cost: by the config's hardware."""
    return Column(key, head, _cost(read), amount, lambda _: "modelled")


def _total_columns(currency: str | None) -> tuple[Column, ...]:
    basis = _total("basis")
    money = (
        [Column(f"total_money_{currency.lower()}", f"total {currency}", _total("money"), amount, basis)]
        if currency
        else []
    )
    return (
        Column("total_device_hours", "total device-hours", _total("device_hours"), amount, basis),
        *money,
        Column("total_energy_kwh", "total kWh", _total("energy_kwh"), amount, basis),
        Column("total_basis", "basis", lambda p: tag(_total("device_hours")(p), basis(p)), str),
    )


def columns(document: Comparison) -> tuple[Column, ...]:
    """Planned first, then measured, then what all of it costs; money only where the config has a price."""
    currency = document.plan.currency
    newest = document.plan.versions[-1].name
    planned = [
        Column("planned_steps", "planned steps", _cost("steps"), count),
        Column("planned_tokens", "planned tokens", _cost("tokens"), short),
        Column("planned_flops", "planned FLOPs", _cost("flops"), flops),
        Column("planned_share_of_ptfs", "steps, of PTFS", _planned("ratio_to_ptfs"), ratio),
        Column("planned_share_of_cpt", "steps, of CPT", _planned("ratio_to_cpt"), ratio),
        _modelled("planned_device_hours", "planned device-hours", "device_hours"),
    ]
    measured = [
        Column("measured_steps", "measured steps", _measured("total_steps"), count),
        Column("measured_repeated_steps", "repeated steps", _measured("repeated_steps"), count),
        Column("measured_device_hours", "measured device-hours", _measured("device_hours"), amount),
        Column("measured_training_hours", "of them training", _measured("training_hours"), amount),
        Column("measured_goodput_share", "goodput", _measured("goodput"), ratio),
        Column("measured_training_share_of_ptfs", "training time, of PTFS", _ratios("training_to_ptfs"), ratio),
        Column("measured_held_share_of_ptfs", "held, of PTFS", _ratios("allocated_to_ptfs"), ratio),
        Column("seen_loss_nats_per_token", f"held-out loss of {newest}", lambda p: p.releases[-1].seen_loss, loss),
    ]
    if currency:
        unit = currency.lower()
        planned.append(_modelled(f"planned_money_{unit}", f"planned {currency}", "money"))
        measured.insert(4, Column(f"measured_money_{unit}", f"measured {currency}", _measured("money"), amount))
    return (*planned, *measured, *_total_columns(currency))


def _shown(document: Comparison) -> tuple[list[str], list[list[str]]]:
    """Titles and rows for people."""
    chosen = columns(document)
    rows = [[name, *(tagged(c.show(c.read(p)), c.basis(p)) for c in chosen)] for name, p in document.paradigms.items()]
    return ["paradigm", *(column.head for column in chosen)], rows


def as_csv(document: Comparison) -> str:
    """Comma-separated, full precision, n/a where there is no value."""
    chosen = columns(document)
    rows = []
    for name, paradigm in document.paradigms.items():
        values = [column.read(paradigm) for column in chosen]
        rows.append([name, *(NOT_APPLICABLE if value is None else value for value in values)])
    return csv_text(["paradigm", *(column.key for column in chosen)], rows)


def versions_as_csv(document: Comparison) -> str:
    """What versions cost: a row a paradigm, version and way of counting."""
    return csv_text(*records(document))


def csv_text(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return text.getvalue()


def as_markdown(document: Comparison) -> str:
    """GitHub tables below the headline."""
    parts = (
        f"# {document.plan.name}",
        headline(document),
        markdown_table(*_shown(document)),
        legend(document.cost_model),
        RATIOS,
        *rehearsal_lines(document.rehearsal_cost, document.plan.currency),
        ONE_RUN,
        still_to_do(document),
        f"## {TITLE.capitalize()}",
        markdown_table(*shown(document), left=2),
        EXPLAINED,
        *_more_tables(document),
    )
    return "\n\n".join(parts) + "\n"


def _more_tables(document: Comparison) -> Iterator[str]:
    """What was measured of versions; no table without a row."""
    for table in (forgetting_table, task_table):
        head, rows = table.shown(document)
        if rows:
            yield from (f"## {table.TITLE.capitalize()}", markdown_table(head, rows, left=3), table.EXPLAINED)


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A GitHub table; the first `left` columns are text."""
    rule = ["---" if index < left else "---:" for index in range(len(head))]
    return "\n".join("| " + " | ".join(_escaped(cells, "|", "\\|")) + " |" for cells in (head, rule, *rows))


def as_latex(document: Comparison) -> str:
    """A tabular with rules of booktabs."""
    return _explained(document) + _tabular(*_shown(document))


def versions_as_latex(document: Comparison) -> str:
    """What versions cost, likewise."""
    return _explained(document) + _tabular(*shown(document), left=2)


def forgetting_as_latex(document: Comparison) -> str:
    """What versions keep, likewise."""
    return f"% {forgetting_table.EXPLAINED}\n" + _tabular(*forgetting_table.shown(document), left=3)


def tasks_as_latex(document: Comparison) -> str:
    """What versions score on tasks, likewise."""
    return f"% {task_table.EXPLAINED}\n" + _tabular(*task_table.shown(document), left=3)


def _explained(document: Comparison) -> str:
    """The mark, and what ratios and hours are of, as comments for who sets the table."""
    return "".join(f"% {line}\n" for line in (legend(document.cost_model), RATIOS, START_UP))


def _tabular(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    alignment = "l" * left + "r" * (len(head) - left)
    lines = [r"% Needs \usepackage{booktabs}.", rf"\begin{{tabular}}{{{alignment}}}", r"\toprule"]
    lines += [_latex_row(head), r"\midrule", *map(_latex_row, rows), r"\bottomrule", r"\end{tabular}"]
    return "\n".join(lines) + "\n"


def _latex_row(cells: Sequence[str]) -> str:
    for special in "&%$#_{}":
        cells = _escaped(cells, special, "\\" + special)
    cells = _escaped(cells, MODELLED, r"\textasciitilde{}")
    return " & ".join(cells) + r" \\"


def _escaped(cells: Sequence[str], old: str, new: str) -> list[str]:
    return [cell.replace(old, new) for cell in cells]
