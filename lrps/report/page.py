"""Report as one HTML file: jinja2 with autoescape, figures inline, nothing loaded from anywhere.

The same comparison gives the same bytes: the page shows when the run was last written to, not when it was drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from lrps.base.numbers import amount, count, flops, loss, ratio, short
from lrps.charts.svg import STYLE, slot_style
from lrps.costs.comparison import Comparison
from lrps.costs.planned.path_plan import RowRange
from lrps.costs.rehearsal_cost import rehearsal_lines
from lrps.report.figures.catalogue import figures
from lrps.report.figures.goodput import USES
from lrps.report.first_screen.screen import FirstScreen, strong
from lrps.report.plan_text import row_ranges
from lrps.report.summary import ONE_RUN, doubts, mixing, noticed_steps, other_histories, refused_forecast, still_to_do
from lrps.report.tables.amendment_table import amendment_table
from lrps.report.tables.average_table import average_table
from lrps.report.tables.forgetting_table import forgetting_table
from lrps.report.tables.paired_table import paired_table, watching_notes
from lrps.report.tables.parts_table import parts_table
from lrps.report.tables.probe_table import probe_table
from lrps.report.tables.task_table import task_table
from lrps.report.tables.track_record_table import track_record_table
from lrps.report.tables.versions_table import UNRELEASED, WAYS_OF_COUNTING
from lrps.report.tags import RATIOS, legend
from lrps.report.tree import graph_paths, tree_rows

_TEMPLATE = "page.html.j2"


def render_page(comparison: Comparison) -> str:
    """Return the whole page. Names in the comparison may be any text: they are escaped."""
    return (
        _environment()
        .get_template(_TEMPLATE)
        .render(
            comparison=comparison,
            remarks=[*other_histories(comparison), *doubts(comparison), *noticed_steps(comparison)],
            refused_forecast=refused_forecast(comparison),
            screen=FirstScreen(comparison),
            still_to_do=still_to_do(comparison),
            one_run=ONE_RUN,
            figures={
                figure.name: (figure, [Markup(drawing.inline()) for _, drawing in figure.panels])
                for figure in figures(comparison)
            },
            rows=list(tree_rows(graph_paths(comparison))),
            uses=_uses(comparison),
            mixing=mixing(comparison),
            ratios=RATIOS,
            rehearsal_lines=rehearsal_lines(comparison.rehearsal_cost, comparison.plan.currency),
            watching_notes=watching_notes(comparison),
            legend=legend(comparison.cost_model),
            ways_of_counting=WAYS_OF_COUNTING,
            unreleased=UNRELEASED,
            amendments=amendment_table(comparison),
            parts=parts_table(comparison.plan),
            measured_tables=[
                *(forgetting_table(comparison), paired_table(comparison), average_table(comparison)),
                *(task_table(comparison), probe_table(comparison)),
                track_record_table(comparison.track_record or ()),
            ],
            chart_style=Markup(STYLE),
            slot_style=Markup(slot_style()),
            any_loss=any(release.heldout for p in comparison.paradigms.values() for release in p.releases),
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
        "get": _get,
        "row_parts": _row_parts,
        "steps": _steps,
        "strong": strong,
    }
    return environment


def _get(value: Any, attribute: str) -> Any:
    """Return an attribute of a value that may be None, for which it is None too."""
    return None if value is None else getattr(value, attribute)


def _row_parts(data: Sequence[RowRange]) -> list[str]:
    """Return the rows that a path reads, in pieces between which a line may break; names have no spaces."""
    return row_ranges(data).split(" ")


def _uses(comparison: Comparison) -> list[str]:
    """Return the uses of device time that occur in any paradigm, useful ones first."""
    measured = comparison.graph.measured
    return [use for use in USES if measured and measured.device_hours_by_use.get(use)]


def _steps(value: float) -> str:
    """Return a number of steps; a share of steps need not be whole."""
    return count(round(value))
