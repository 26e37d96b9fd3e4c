"""The table of totals, one row a paradigm, as CSV, Markdown and LaTeX. The page and the terminal show parts of it.

CSV keeps numbers as they are, with the unit in the column's name; the others write them for people.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lrps.report.numbers import NOT_APPLICABLE, amount, count, flops, loss, ratio, short
from lrps.report.summary import ONE_RUN, headline, still_to_do


@dataclass(frozen=True)
class Column:
    """key: name in the CSV, unit included. head: title for people. read: the value of a paradigm; None is n/a."""

    key: str
    head: str
    read: Callable[[Mapping[str, Any]], Any]
    show: Callable[[Any], str]


def _measured(key: str) -> Callable[[Mapping[str, Any]], Any]:
    return lambda paradigm: None if paradigm["measured"] is None else paradigm["measured"][key]


def _planned(key: str) -> Callable[[Mapping[str, Any]], Any]:
    return lambda paradigm: paradigm[key]


def columns(document: Mapping[str, Any]) -> tuple[Column, ...]:
    """Planned first, then measured; money only where the config has a price."""
    currency = document["currency"]
    newest = document["versions"][-1]["name"]
    planned = [
        Column("planned_steps", "planned steps", _planned("total_steps"), count),
        Column("planned_tokens", "planned tokens", _planned("total_tokens"), short),
        Column("planned_flops", "planned FLOPs", _planned("total_flops"), flops),
        Column("planned_share_of_ptfs", "of PTFS", _planned("ratio_to_ptfs"), ratio),
        Column("planned_share_of_cpt", "of CPT", _planned("ratio_to_cpt"), ratio),
        Column("planned_device_hours", "planned device-hours", _planned("device_hours"), amount),
    ]
    measured = [
        Column("measured_steps", "measured steps", _measured("total_steps"), count),
        Column("measured_repeated_steps", "repeated steps", _measured("repeated_steps"), count),
        Column("measured_device_hours", "measured device-hours", _measured("device_hours"), amount),
        Column("measured_training_hours", "of them training", _measured("training_hours"), amount),
        Column("measured_goodput_share", "goodput", _measured("goodput"), ratio),
        Column("measured_share_of_ptfs", "measured, of PTFS", _planned("measured_ratio_to_ptfs"), ratio),
        Column(
            "seen_loss_nats_per_token", f"held-out loss of {newest}", lambda p: p["releases"][-1]["seen_loss"], loss
        ),
    ]
    if currency:
        unit = currency.lower()
        planned.append(Column(f"planned_money_{unit}", f"planned {currency}", _planned("money"), amount))
        measured.insert(4, Column(f"measured_money_{unit}", f"measured {currency}", _measured("money"), amount))
    return (*planned, *measured)


def _shown(document: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Titles and rows for people."""
    chosen = columns(document)
    rows = [[name, *(c.show(c.read(p)) for c in chosen)] for name, p in document["paradigms"].items()]
    return ["paradigm", *(column.head for column in chosen)], rows


def as_csv(document: Mapping[str, Any]) -> str:
    """Comma-separated, full precision, n/a where there is no value."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    chosen = columns(document)
    writer.writerow(["paradigm", *(column.key for column in chosen)])
    for name, paradigm in document["paradigms"].items():
        values = [column.read(paradigm) for column in chosen]
        writer.writerow([name, *(NOT_APPLICABLE if value is None else value for value in values)])
    return text.getvalue()


def as_markdown(document: Mapping[str, Any]) -> str:
    """A GitHub table below the headline."""
    head, rows = _shown(document)
    rule = ["---", *("---:" for _ in head[1:])]
    lines = ["| " + " | ".join(_escaped(cells, "|", "\\|")) + " |" for cells in (head, rule, *rows)]
    parts = (f"# {document['name']}", headline(document), "\n".join(lines), ONE_RUN, still_to_do(document))
    return "\n\n".join(parts) + "\n"


def as_latex(document: Mapping[str, Any]) -> str:
    """A tabular with rules of booktabs."""
    head, rows = _shown(document)
    lines = [r"% Needs \usepackage{booktabs}.", rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}", r"\toprule"]
    lines += [_latex_row(head), r"\midrule", *map(_latex_row, rows), r"\bottomrule", r"\end{tabular}"]
    return "\n".join(lines) + "\n"


def _latex_row(cells: Sequence[str]) -> str:
    for special in "&%$#_{}":
        cells = _escaped(cells, special, "\\" + special)
    return " & ".join(cells) + r" \\"


def _escaped(cells: Sequence[str], old: str, new: str) -> list[str]:
    return [cell.replace(old, new) for cell in cells]
