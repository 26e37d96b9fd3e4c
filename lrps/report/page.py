"""The report as one HTML file: jinja2 with autoescape, figures inline, nothing loaded from anywhere.

The same document gives the same bytes: the page says when the run was last written to, not when it was drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from lrps.base.numbers import amount, count, flops, loss, ratio, short
from lrps.charts.svg import STYLE
from lrps.costs.plan_document import RowRange
from lrps.costs.rehearsal_cost import rehearsal_lines
from lrps.report import forgetting_table, task_table
from lrps.report.figures.catalogue import figures
from lrps.report.figures.goodput import USES
from lrps.report.plan_text import row_ranges
from lrps.report.summary import ONE_RUN, headline, mixing, still_to_do
from lrps.report.tags import RATIOS, legend, whole_cost
from lrps.report.tree import paths_once, tree_rows
from lrps.report.versions_table import EXPLAINED, UNRELEASED

_TEMPLATE = "page.html.j2"


def render_page(document: Mapping[str, Any]) -> str:
    """The whole page. document: what comparison_document makes; names in it may be anything, they are escaped."""
    return (
        _environment()
        .get_template(_TEMPLATE)
        .render(
            document=document,
            headline=headline(document),
            still_to_do=still_to_do(document),
            one_run=ONE_RUN,
            figures={
                figure.name: (figure, [Markup(drawing.inline()) for _, drawing in figure.panels])
                for figure in figures(document)
            },
            rows=list(tree_rows(paths_once(document))),
            uses=_uses(document),
            mixing=mixing(document),
            ratios=RATIOS,
            rehearsal_lines=rehearsal_lines(document),
            legend=legend(document["cost_model"]),
            explained=EXPLAINED,
            unreleased=UNRELEASED,
            measured_tables=[
                (table.TITLE.capitalize(), *table.shown(document), table.EXPLAINED)
                for table in (forgetting_table, task_table)
            ],
            chart_style=Markup(STYLE),
            any_loss=any(release["heldout"] for p in document["paradigms"].values() for release in p["releases"]),
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "amount": amount,
        "count": count,
        "loss": loss,
        "ratio": ratio,
        "flops": flops,
        "short": short,
        "row_parts": _row_parts,
        "steps": _steps,
        "whole_cost": whole_cost,
    }
    return environment


def _row_parts(data: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the rows that a path reads, in pieces between which a line may break; names have no spaces."""
    return row_ranges([RowRange(**part) for part in data]).split(" ")


def _uses(document: Mapping[str, Any]) -> list[str]:
    """What device time went into, of all paradigms, useful uses first."""
    measured = document["graph"]["measured"]
    return [use for use in USES if measured and measured["device_hours_by_use"].get(use)]


def _steps(value: float) -> str:
    """A share of steps need not be whole."""
    return count(round(value))
