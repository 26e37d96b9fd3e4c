"""Files of a report in the run directory, each written as a whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from lrps.base.document import to_json
from lrps.base.errors import ConfigError
from lrps.base.files import atomic_write_text
from lrps.costs.comparison import Comparison
from lrps.plan.plan import Plan
from lrps.report.comparison_text import comparison_markdown
from lrps.report.figures.catalogue import figures
from lrps.report.page import render_page
from lrps.report.tables.average_table import average_records
from lrps.report.tables.forgetting_table import forgetting_records, forgetting_table, matrix_records
from lrps.report.tables.paired_table import paired_records
from lrps.report.tables.probe_table import probe_records, probe_score_records, probe_table
from lrps.report.tables.task_table import task_records, task_table
from lrps.report.tables.totals_table import totals_table
from lrps.report.tables.track_record_table import track_record_records
from lrps.report.tables.versions_table import version_costs_records, version_costs_table

Files = dict[str, str]
"""Texts by name in the report directory."""


def _html(comparison: Comparison) -> Files:
    drawn = {
        f"figures/{name}.svg": drawing.standalone() for figure in figures(comparison) for name, drawing in figure.panels
    }
    return {"index.html": render_page(comparison), **drawn}


def _json(comparison: Comparison) -> Files:
    return {"comparison.json": json.dumps(to_json(comparison), indent=1, allow_nan=False) + "\n"}


def _csv(comparison: Comparison) -> Files:
    return {
        "comparison.csv": totals_table(comparison).to_csv(),
        "versions.csv": version_costs_records(comparison).to_csv(),
        "forgetting.csv": forgetting_records(comparison).to_csv(),
        "matrix.csv": matrix_records(comparison).to_csv(),
        **({"paired.csv": paired_records(comparison).to_csv()} if comparison.heldout_curves else {}),
        **({"averages.csv": average_records(comparison).to_csv()} if comparison.averages_beside_branches else {}),
        **({"tasks.csv": task_records(comparison).to_csv()} if comparison.tasks else {}),
        **({"probes.csv": probe_records(comparison).to_csv()} if comparison.probe_results else {}),
        **({"probe_tasks.csv": probe_score_records(comparison).to_csv()} if _probes_scored(comparison) else {}),
        **(
            {"forecasts.csv": track_record_records(comparison.track_record).to_csv()} if comparison.track_record else {}
        ),
    }


def _probes_scored(comparison: Comparison) -> bool:
    return any(result.scores for result in comparison.probe_results or ())


def _tex(comparison: Comparison) -> Files:
    return {
        "comparison.tex": totals_table(comparison).to_latex(),
        "versions.tex": version_costs_table(comparison).to_latex(),
        "forgetting.tex": forgetting_table(comparison).to_latex(),
        **({"tasks.tex": task_table(comparison).to_latex()} if comparison.tasks else {}),
        **({"probes.tex": probe_table(comparison).to_latex()} if comparison.probe_results else {}),
    }


FORMATS: dict[str, Callable[[Comparison], Files]] = {
    "html": _html,
    "md": lambda comparison: {"comparison.md": comparison_markdown(comparison)},
    "csv": _csv,
    "tex": _tex,
    "json": _json,
}
"""Makers of the files of each format."""


def known_formats(formats: Sequence[str]) -> list[str]:
    """Return the names of formats without blanks around them. Raises ConfigError for an unknown one."""
    wanted = [name.strip() for name in formats]
    if unknown := [name for name in wanted if name not in FORMATS]:
        raise ConfigError(f"--format: unknown format '{unknown[0]}'; known are {', '.join(FORMATS)}")
    return wanted


def write_report(
    plan: Plan, comparison: Comparison, formats: Sequence[str], directory: Path | None = None
) -> list[Path]:
    """Write the formats to a directory and return their files, without those of the figures (in its `figures`).

    directory: <run>/report by default. Raises ConfigError for an unknown format, before anything is written, and for a
    directory that cannot be written to.
    """
    wanted = known_formats(formats)
    directory = plan.layout.report_dir if directory is None else directory
    files = {directory / file: text for name in wanted for file, text in FORMATS[name](comparison).items()}
    try:
        for file, text in files.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            atomic_write_text(file, text)
    except OSError as error:
        raise ConfigError(
            f"{directory}: cannot write the report: {error}; make it writable, or name another directory with --out"
        ) from None
    return [file for file in files if file.parent == directory]
