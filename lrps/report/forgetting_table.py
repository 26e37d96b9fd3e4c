"""The table of what versions keep: AR, FWT and BWT of every paradigm, for the terminal, the page and the files; and the
matrix behind them, as records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lrps.base.numbers import NOT_APPLICABLE
from lrps.costs.comparison import Comparison
from lrps.costs.forgetting_matrix import ForgettingMatrix
from lrps.costs.version_matrix import MEASURES

TITLE = "what versions keep"
MEANS = {"average": "average (AR)", "forward_transfer": "forward transfer (FWT)", "backward_transfer": "backward (BWT)"}
EXPLAINED = (
    "AR: the mean score of the newest measured version on the sets of all versions up to it. FWT: the mean score on a "
    "version's set before its data came, by the version before it. BWT: the mean change on older sets since they were "
    "new. Loss, perplexity and bits per byte: lower is better, and a BWT above 0 is forgetting. ROUGE-L: higher is "
    "better, and a BWT below 0 is forgetting."
)


def _matrices(comparison: Comparison) -> Iterator[tuple[str, str, ForgettingMatrix]]:
    """(paradigm, measure, its matrix), the paradigms of a measure beside each other."""
    for measure in MEASURES:
        for name, paradigm in comparison.paradigms.items():
            if measure in paradigm.matrices:
                yield name, measure, paradigm.matrices[measure]


def shown(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Titles and rows for people; no row before the first evaluation."""
    head = ["measure", "paradigm", "after", *MEANS.values()]
    return head, [
        [
            matrix.title,
            name,
            matrix.after or NOT_APPLICABLE,
            *(_text(measure, getattr(matrix, mean), signed=mean == "backward_transfer") for mean in MEANS),
        ]
        for name, measure, matrix in _matrices(comparison)
    ]


def _text(measure: str, value: float | None, *, signed: bool) -> str:
    return NOT_APPLICABLE if value is None else MEASURES[measure].shown(value, signed=signed)


def records(comparison: Comparison) -> tuple[list[str], list[list[Any]]]:
    """Names of columns and rows at full precision: the means, a row a paradigm and measure."""
    head = ["paradigm", "measure", "unit", "better", "after", *MEANS]
    rows = []
    for name, measure, matrix in _matrices(comparison):
        means = [NOT_APPLICABLE if getattr(matrix, mean) is None else getattr(matrix, mean) for mean in MEANS]
        rows.append([name, measure, matrix.unit, _better(matrix), matrix.after or NOT_APPLICABLE, *means])
    return head, rows


def cells(comparison: Comparison) -> tuple[list[str], list[list[Any]]]:
    """The same of the matrix: a row a paradigm, measure, version and task."""
    head = ["paradigm", "measure", "unit", "better", "after_version", "on_version", "score"]
    return head, [
        [name, measure, matrix.unit, _better(matrix), after, on, score]
        for name, measure, matrix in _matrices(comparison)
        for after, row in matrix.scores.items()
        for on, score in row.items()
    ]


def _better(matrix: ForgettingMatrix) -> str:
    return "higher" if matrix.higher_is_better else "lower"
