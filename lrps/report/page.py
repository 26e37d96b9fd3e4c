"""The report as one HTML file: jinja2 with autoescape, figures inline, nothing loaded from anywhere.

The same document gives the same bytes: the page says when the run was last written to, not when it was drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from lrps.report.figures import figures
from lrps.report.numbers import amount, count, flops, loss, ratio, rows_text, short
from lrps.report.summary import ONE_RUN, headline, still_to_do
from lrps.report.svg import STYLE
from lrps.report.tree import lineage, tree_rows

_TEMPLATE = "page.html.j2"


def render_page(document: Mapping[str, Any]) -> str:
    """The whole page. document: what comparison_document makes; names in it may be anything, they are escaped."""
    paths = _paths(document)
    return (
        _environment()
        .get_template(_TEMPLATE)
        .render(
            document=document,
            headline=headline(document),
            still_to_do=still_to_do(document),
            one_run=ONE_RUN,
            figures=[
                (figure, [Markup(drawing.inline()) for _, drawing in figure.panels]) for figure in figures(document)
            ],
            rows=list(tree_rows(paths)),
            roots=lineage(paths),
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
        "rows": rows_text,
    }
    return environment


def _paths(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every path of the graph once, the longest of a shared one, with the paradigms and releases that it serves."""
    found: dict[str, dict[str, Any]] = {}
    for name, paradigm in document["paradigms"].items():
        for path in paradigm["paths"]:
            known = found.get(path["name"])
            longest = path if known is None or path["stop_step"] > known["stop_step"] else known
            versions = {r["version"]: None for r in paradigm["releases"] if r["path"] == path["name"]}
            found[path["name"]] = {
                **longest,
                "paradigms": [*(known["paradigms"] if known else ()), name],
                "versions": list(dict.fromkeys([*(known["versions"] if known else ()), *versions])),
            }
    return list(found.values())
