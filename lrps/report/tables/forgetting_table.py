"""Tables of what versions keep: AR, FWT and BWT of every paradigm, and the matrix that they are means of."""

from __future__ import annotations

from collections.abc import Iterator

from lrps.costs.comparison import Comparison
from lrps.costs.forgetting_matrix import ForgettingMatrix
from lrps.costs.version_matrix import MEASURES, Measure
from lrps.plan.initial_evaluation import INITIAL
from lrps.report.table import Column, Table, text_column

_MEANS = (
    "AR: the mean score of the newest measured version on the sets of all versions up to it. FWT: the mean score on a "
    "version's set before its data came, by the version before it. BWT: the mean change on older sets since they were "
    "new. Loss, perplexity and bits per byte: lower is better, and a BWT above 0 is forgetting. ROUGE-L: higher is "
    "better, and a BWT below 0 is forgetting."
)
_SINCE = (
    "Since the start: the mean change on the sets of all versions up to the newest since the model that the plan "
    "starts from; its sign is read like that of BWT."
)


def forgetting_table(comparison: Comparison) -> Table:
    """Return the means of every paradigm for people; without rows before the first evaluation."""
    columns = (
        *(text_column("measure"), text_column("paradigm"), text_column("after")),
        *(Column("average (AR)"), Column("forward transfer (FWT)"), Column("backward (BWT)")),
        *([Column("since the start")] if comparison.initial_heldout else []),
    )
    rows = (
        (
            *(matrix.title, paradigm, matrix.after),
            *(_text(measure, matrix.average), _text(measure, matrix.forward_transfer)),
            _text(measure, matrix.backward_transfer, signed=True),
            *([_text(measure, matrix.change_since_initial, signed=True)] if comparison.initial_heldout else []),
        )
        for paradigm, measure, matrix in _matrices(comparison)
    )
    notes = (_MEANS, _SINCE) if comparison.initial_heldout else (_MEANS,)
    return Table("what versions keep", columns, tuple(rows), notes)


def forgetting_records(comparison: Comparison) -> Table:
    """Return the means of every paradigm in raw values."""
    since = ["change_since_initial"] if comparison.initial_heldout else []
    means = ("average", "forward_transfer", "backward_transfer", *since)
    keys = ("paradigm", "measure", "unit", "better", "after", *means)
    rows = (
        (
            *(paradigm, measure, matrix.unit, _better(matrix), matrix.after),
            *(getattr(matrix, mean) for mean in means),
        )
        for paradigm, measure, matrix in _matrices(comparison)
    )
    return Table("what versions keep", tuple(map(Column, keys)), tuple(rows))


def matrix_records(comparison: Comparison) -> Table:
    """Return the scores of every version on every version's task in raw values, after those of the initial model."""
    keys = ("paradigm", "measure", "unit", "better", "after_version", "on_version", "score")
    rows = (
        (paradigm, measure, matrix.unit, _better(matrix), after, on, score)
        for paradigm, measure, matrix in _matrices(comparison)
        for after, scores in ({INITIAL: matrix.initial or {}} | dict(matrix.scores)).items()
        for on, score in scores.items()
    )
    return Table("scores of versions", tuple(map(Column, keys)), tuple(rows))


def _matrices(comparison: Comparison) -> Iterator[tuple[str, str, ForgettingMatrix]]:
    """Yield each matrix with its paradigm and its measure, the paradigms of a measure one after the other."""
    for measure in MEASURES:
        for name, paradigm in comparison.paradigms.items():
            if measure in paradigm.matrices:
                yield name, measure, paradigm.matrices[measure]


def _text(measure: str, value: float | None, *, signed: bool = False) -> str | None:
    kind: Measure = MEASURES[measure]
    return None if value is None else kind.shown(value, signed=signed)


def _better(matrix: ForgettingMatrix) -> str:
    return "higher" if matrix.higher_is_better else "lower"
