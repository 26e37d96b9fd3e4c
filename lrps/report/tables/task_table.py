"""Table of what versions score on tasks (`lrps score`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lrps.base.document import to_json
from lrps.costs.comparison import Comparison
from lrps.costs.released_version import TaskScore
from lrps.costs.version_matrix import MEASURES
from lrps.plan.scores import MetricResult
from lrps.report.table import Column, Table, text_column

_NOTE = (
    "ROUGE-L: F of greedy answers against the given ones, mean over the pairs, points of 100; other measures are "
    "lm-eval's own. Higher is better where nothing else is said. n/a: not scored yet (lrps score)."
)


@dataclass(frozen=True)
class Number:
    """Result of one version on a task."""

    result: MetricResult
    """Result of the metric."""
    examples: int
    """Number of scored examples."""


Numbers = Mapping[str, Number]


def _lines(comparison: Comparison) -> Iterator[tuple[str, str, str, Numbers]]:
    """Yield each task, metric and paradigm with the results of its versions, as far as they were scored."""
    for task in comparison.tasks:
        found: dict[tuple[str, str], dict[str, Number]] = {}
        for name, paradigm in comparison.paradigms.items():
            for release in paradigm.releases:
                score = release.scores.get(task, TaskScore({}, 0))
                for metric, result in score.results.items():
                    of_paradigm = found.setdefault((metric, name), {})
                    of_paradigm[release.version] = Number(result, score.examples)
        yield from ((task, metric, name, found[metric, name]) for metric, name in sorted(found, key=_by_metric))


def _by_metric(line: tuple[str, str]) -> str:
    """Return the key that sorts lines by metric and keeps the order of the paradigms."""
    return line[0]


def task_table(comparison: Comparison) -> Table:
    """Return the scores of every version for people; without rows before the first score."""
    versions = [version.name for version in comparison.plan.versions]
    columns = (
        *(text_column("task"), text_column("measure"), text_column("paradigm")),
        *(Column(version, priority=len(versions) - index) for index, version in enumerate(versions, 1)),
    )
    rows = []
    for task, metric, name, numbers in _lines(comparison):
        version = comparison.tasks[task]
        cells = (_text(metric, numbers.get(version)) for version in versions)
        title = metric_label(metric, next(iter(numbers.values())).result.higher_is_better)
        rows.append((task if version is None else f"{task} (of {version})", title, name, *cells))
    return Table("what versions score on tasks", columns, tuple(rows), (_NOTE,))


def metric_label(metric: str, higher_is_better: bool) -> str:
    """Return the name of a metric for people."""
    title = MEASURES[metric].title if metric in MEASURES else metric
    return title if higher_is_better else f"{title} (lower is better)"


def score_text(metric: str, value: float, *, signed: bool = False) -> str:
    """Return a value of a metric as text. signed: with a plus sign in front of a positive one."""
    if metric in MEASURES:
        return MEASURES[metric].shown(value, signed=signed)
    return f"{value:{'+' if signed else ''}.4g}"


def _text(metric: str, number: Number | None) -> str | None:
    return None if number is None else score_text(metric, number.result.value)


def task_records(comparison: Comparison) -> Table:
    """Return the scores in raw values, one row per task, measure, paradigm and version."""
    keys = ("task", "of_version", "measure", "paradigm", "after_version", "value", "stderr", "better", "examples")
    rows = (
        (
            *(task, comparison.tasks[task], metric, name, version, number.result.value, number.result.stderr),
            *("higher" if number.result.higher_is_better else "lower", number.examples),
        )
        for task, metric, name, numbers in _lines(comparison)
        for version, number in numbers.items()
    )
    return Table("what versions score on tasks", tuple(map(Column, keys)), tuple(rows))


def scored(comparison: Comparison) -> dict[str, Any]:
    """Return the parts of a comparison that are about tasks as JSON values, for `lrps score --json`."""
    return {
        "name": comparison.plan.name,
        "tasks": comparison.tasks,
        "paradigms": {
            name: {
                "releases": [
                    {"version": r.version, "path": r.path, "step": r.step, "form": r.form, "scores": to_json(r.scores)}
                    for r in p.releases
                ],
                "rouge_l": to_json(p.matrices.get("rouge_l")),
            }
            for name, p in comparison.paradigms.items()
        },
        "probes": {each.name: to_json(each.scores) for each in comparison.probe_results or ()},
    }
