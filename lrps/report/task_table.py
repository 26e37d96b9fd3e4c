"""The table of what versions score on tasks (`lrps score`): for the terminal, the page and the files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lrps.base.numbers import NOT_APPLICABLE
from lrps.costs.version_matrix import MEASURES

TITLE = "what versions score on tasks"
EXPLAINED = (
    "ROUGE-L: F of greedy answers against the given ones, mean over the pairs, points of 100; other measures are "
    "lm-eval's own. Higher is better where nothing else is said. n/a: not scored yet (lrps score)."
)

Numbers = Mapping[str, Mapping[str, Any]]


def _lines(document: Mapping[str, Any]) -> Iterator[tuple[str, str, str, Numbers]]:
    """(task, metric, paradigm, version -> {value, stderr, higher_is_better, examples}), as far as it was scored."""
    for task in document["tasks"]:
        found: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
        for name, paradigm in document["paradigms"].items():
            for release in paradigm["releases"]:
                scored = release["scores"].get(task, {"results": {}})
                for metric, result in scored["results"].items():
                    of_paradigm = found.setdefault((metric, name), {})
                    of_paradigm[release["version"]] = {**result, "examples": scored["examples"]}
        yield from ((task, metric, name, found[metric, name]) for metric, name in sorted(found, key=_by_metric))


def _by_metric(line: tuple[str, str]) -> str:
    """The paradigms of a metric beside each other, in their own order."""
    return line[0]


def shown(document: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Titles and rows for people; no row before the first score."""
    versions = [version["name"] for version in document["versions"]]
    rows = []
    for task, metric, name, numbers in _lines(document):
        version = document["tasks"][task]
        cells = (_text(metric, numbers.get(version)) for version in versions)
        rows.append([task if version is None else f"{task} (of {version})", _measure(metric, numbers), name, *cells])
    return ["task", "measure", "paradigm", *versions], rows


def _measure(metric: str, numbers: Numbers) -> str:
    title = MEASURES[metric].title if metric in MEASURES else metric
    return title if next(iter(numbers.values()))["higher_is_better"] else f"{title} (lower is better)"


def _text(metric: str, number: Mapping[str, Any] | None) -> str:
    if number is None:
        return NOT_APPLICABLE
    return MEASURES[metric].shown(number["value"]) if metric in MEASURES else f"{number['value']:.4g}"


def records(document: Mapping[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """Names of columns and rows at full precision: one a task, measure, paradigm and version."""
    head = ["task", "of_version", "measure", "paradigm", "after_version", "value", "stderr", "better", "examples"]
    rows = []
    for task, metric, name, numbers in _lines(document):
        for version, number in numbers.items():
            values = (number["value"], NOT_APPLICABLE if number["stderr"] is None else number["stderr"])
            better = "higher" if number["higher_is_better"] else "lower"
            of_version = document["tasks"][task] or NOT_APPLICABLE
            rows.append([task, of_version, metric, name, version, *values, better, number["examples"]])
    return head, rows


def scored(document: Mapping[str, Any]) -> dict[str, Any]:
    """What `lrps score --json` prints: the parts of a comparison that are about tasks."""
    return {
        "name": document["name"],
        "tasks": document["tasks"],
        "paradigms": {
            name: {
                "releases": [{key: r[key] for key in ("version", "path", "step", "scores")} for r in p["releases"]],
                "rouge_l": p["matrices"].get("rouge_l"),
            }
            for name, p in document["paradigms"].items()
        },
    }
