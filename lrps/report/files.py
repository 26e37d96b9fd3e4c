"""Writes a report into the run directory, each file as a whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lrps.base.errors import ConfigError
from lrps.base.files import atomic_write_text
from lrps.plan.plan import Plan
from lrps.report import forgetting_table, task_table
from lrps.report.figures.catalogue import figures
from lrps.report.page import render_page
from lrps.report.totals_table import (
    as_csv,
    as_latex,
    as_markdown,
    csv_text,
    forgetting_as_latex,
    tasks_as_latex,
    versions_as_csv,
    versions_as_latex,
)

Files = dict[str, str]
"""Name in the report directory -> text."""


def _html(document: Mapping[str, Any]) -> Files:
    drawn = {
        f"figures/{name}.svg": drawing.standalone() for figure in figures(document) for name, drawing in figure.panels
    }
    return {"index.html": render_page(document), **drawn}


def _json(document: Mapping[str, Any]) -> Files:
    """What `lrps report --json` prints."""
    return {"comparison.json": json.dumps(document, indent=1, allow_nan=False) + "\n"}


def _csv(document: Mapping[str, Any]) -> Files:
    return {
        "comparison.csv": as_csv(document),
        "versions.csv": versions_as_csv(document),
        "forgetting.csv": csv_text(*forgetting_table.records(document)),
        "matrix.csv": csv_text(*forgetting_table.cells(document)),
        **({"tasks.csv": csv_text(*task_table.records(document))} if document["tasks"] else {}),
    }


def _tex(document: Mapping[str, Any]) -> Files:
    return {
        "comparison.tex": as_latex(document),
        "versions.tex": versions_as_latex(document),
        "forgetting.tex": forgetting_as_latex(document),
        **({"tasks.tex": tasks_as_latex(document)} if document["tasks"] else {}),
    }


FORMATS: dict[str, Callable[[Mapping[str, Any]], Files]] = {
    "html": _html,
    "md": lambda document: {"comparison.md": as_markdown(document)},
    "csv": _csv,
    "tex": _tex,
    "json": _json,
}


def known_formats(formats: Sequence[str]) -> list[str]:
    """The names of formats, bare. Raises ConfigError for one that is not known."""
    wanted = [name.strip() for name in formats]
    if unknown := [name for name in wanted if name not in FORMATS]:
        raise ConfigError(f"--format: unknown format '{unknown[0]}'; known are {', '.join(FORMATS)}")
    return wanted


def write_report(plan: Plan, document: Mapping[str, Any], formats: Sequence[str]) -> list[Path]:
    """Write the formats to <run>/report and return their files, figures left out: those lie beside index.html.

    Raises ConfigError for a format that is not known, before anything is written, and for a directory that cannot be
    written to.
    """
    wanted = known_formats(formats)
    directory = plan.layout.report_dir
    files = {directory / file: text for name in wanted for file, text in FORMATS[name](document).items()}
    try:
        for file, text in files.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            atomic_write_text(file, text)
    except OSError as error:
        raise ConfigError(f"{directory}: cannot write the report: {error}; make the directory writable") from None
    return [file for file in files if file.parent == directory]
