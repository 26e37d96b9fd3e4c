"""The table of what versions score on tasks (`lrps score`): for the terminal, the page and the files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lrps.base.numbers import NOT_APPLICABLE
from lrps.costs.comparison import Comparison
from lrps.costs.document import to_json
from lrps.costs.released_version import TaskScore
from lrps.costs.version_matrix import MEASURES
from lrps.plan.scores import Result

TITLE = "what versions score on tasks"
EXPLAINED = (
    "ROUGE-L: F of greedy answers against the given ones, mean over the pairs, points of 100; other measures are "
    "lm-eval's own. Higher is better where nothing else is said. n/a: not scored yet (lrps score)."
)


@dataclass(frozen=True)
class Number:
    """Result of one version on a task."""

    result: Result
    examples: int


Numbers = Mapping[str, Number]


def _lines(comparison: Comparison) -> Iterator[tuple[str, str, str, Numbers]]:
    """(task, metric, paradigm, version -> {value, stderr, higher_is_better, examples}), as far as it was scored."""
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
    """The paradigms of a metric beside each other, in their own order."""
    return line[0]


def shown(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Titles and rows for people; no row before the first score."""
    versions = [version.name for version in comparison.plan.versions]
    rows = []
    for task, metric, name, numbers in _lines(comparison):
        version = comparison.tasks[task]
        cells = (_text(metric, numbers.get(version)) for version in versions)
        rows.append([task if version is None else f"{task} (of {version})", _measure(metric, numbers), name, *cells])
    return ["task", "measure", "paradigm", *versions], rows


def _measure(metric: str, numbers: Numbers) -> str:
    title = MEASURES[metric].title if metric in MEASURES else metric
    return title if next(iter(numbers.values())).result.higher_is_better else f"{title} (lower is better)"


def _text(metric: str, number: Number | None) -> str:
    if number is None:
        return NOT_APPLICABLE
    return MEASURES[metric].shown(number.result.value) if metric in MEASURES else f"{number.result.value:.4g}"


def records(comparison: Comparison) -> tuple[list[str], list[list[Any]]]:
    """Names of columns and rows at full precision: one a task, measure, paradigm and version."""
    head = ["task", "of_version", "measure", "paradigm", "after_version", "value", "stderr", "better", "examples"]
    rows = []
    for task, metric, name, numbers in _lines(comparison):
        for version, number in numbers.items():
            values = (number.result.value, NOT_APPLICABLE if number.result.stderr is None else number.result.stderr)
            better = "higher" if number.result.higher_is_better else "lower"
            of_version = comparison.tasks[task] or NOT_APPLICABLE
            rows.append([task, of_version, metric, name, version, *values, better, number.examples])
    return head, rows


def scored(comparison: Comparison) -> dict[str, Any]:
    """What `lrps score --json` prints: the parts of a comparison that are about tasks."""
    return {
        "name": comparison.plan.name,
        "tasks": comparison.tasks,
        "paradigms": {
            name: {
                "releases": [
                    {"version": r.version, "path": r.path, "step": r.step, "scores": to_json(r.scores)}
                    for r in p.releases
                ],
                "rouge_l": to_json(p.matrices.get("rouge_l")),
            }
            for name, p in comparison.paradigms.items()
        },
    }
