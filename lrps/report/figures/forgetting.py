"""Forgetting matrices as heat maps: every released version on every version's held-out set and instruction pairs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from lrps.charts.figure import Figure
from lrps.charts.heatmap import Heatmap
from lrps.charts.svg import Drawing
from lrps.costs.comparison import Comparison
from lrps.costs.version_matrix import MEASURES, Scores
from lrps.plan.initial_evaluation import INITIAL

_SCALE = (
    "Darker is higher. Every column has a scale of its own, the same in all maps, since sets are not equally hard: "
    "from the lowest to the highest score of versions that had the data. Framed: a version on its own, newest data."
)


def forgetting(comparison: Comparison) -> Figure | None:
    """Return a map of held-out losses per paradigm; None before the first evaluation."""
    caption = (
        f"Held-out loss, nats per token. {_SCALE} Read down a column: below the frame the set is older data, and a "
        "column that darkens there is forgetting. Above it is the version before, which had not seen it: transfer."
    )
    if comparison.initial_heldout:
        caption += f" The row {INITIAL} is the model that the plan starts from."
    panels = _maps(comparison, "loss", "forgetting", "held-out set")
    return Figure("forgetting", "Every version on every held-out set", caption, panels) if panels else None


def task_forgetting(comparison: Comparison) -> Figure | None:
    """Return a map of ROUGE-L on instruction pairs per paradigm; None before any was scored."""
    caption = (
        f"ROUGE-L F of greedy answers, in points out of 100. {_SCALE} Read down a column: one that becomes lighter "
        "below the frame is forgetting; above it are versions that had not seen the data."
    )
    panels = _maps(comparison, "rouge_l", "rouge-l", "pairs of a version")
    return Figure("rouge-l", "Every version on every version's instruction pairs", caption, panels) if panels else None


def _maps(comparison: Comparison, measure: str, file: str, column_title: str) -> tuple[tuple[str, Drawing], ...]:
    """Return the map of every paradigm that has the measure, with the name of its file."""
    matrices = {
        name: {(i, j): score for i, row in paradigm.matrices[measure].scores.items() for j, score in row.items()}
        for name, paradigm in comparison.paradigms.items()
        if measure in paradigm.matrices
    }
    versions = [version.name for version in comparison.plan.versions]
    scales = {on: scale for on in versions if (scale := _scale(matrices.values(), versions, on))}
    matrices = {name: _row_0(comparison, name, measure, scales) | matrices[name] for name in matrices if scales}
    has_row_0 = any(i == INITIAL for scores in matrices.values() for i, _ in scores)
    rows = [*([INITIAL] if has_row_0 else []), *versions]
    title = MEASURES[measure].title
    return tuple(
        (
            f"{file}-{name}",
            Heatmap(
                title=name,
                description=f"{title} of every released version of {name} on the {column_title}, for every version.",
                rows=rows,
                columns=tuple(scales),
                values=matrices[name],
                scales=scales,
                slot=slot,
                digits=3 if measure == "loss" else 1,
                column_title=column_title,
            ).draw(),
        )
        for slot, name in enumerate(comparison.paradigms)
        if name in matrices
    )


def _row_0(
    comparison: Comparison, paradigm: str, measure: str, columns: Collection[str]
) -> dict[tuple[str, str], float]:
    initial = comparison.paradigms[paradigm].matrices[measure].initial or {}
    return {(INITIAL, on): score for on, score in initial.items() if on in columns}


def _scale(matrices: Iterable[Scores], versions: Sequence[str], on: str) -> tuple[float, float] | None:
    """Return the ends of a column's scale: the scores of versions that had its data, if any was measured.

    Scores of versions that had not are so different that forgetting would not show beside them.
    """
    column = [(versions.index(i), score) for scores in matrices for (i, j), score in scores.items() if j == on]
    had_it = [score for i, score in column if i >= versions.index(on)] or [score for _, score in column]
    return (min(had_it), max(had_it)) if had_it else None
