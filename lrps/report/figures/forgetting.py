"""The forgetting matrix: every released version on every version's held-out set, and on its instruction pairs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lrps.charts.figure import Document, Figure, slotted
from lrps.charts.heatmap import Heatmap
from lrps.charts.svg import Drawing
from lrps.costs.version_matrix import MEASURES, Scores

_SCALE = (
    "Darker is higher; every column has a scale of its own, the same in all maps, for sets are not equally hard: from "
    "the lowest to the highest score of versions that had the data. Framed: a version on its own, newest data."
)


def forgetting(document: Document) -> Figure | None:
    """A map of losses a paradigm; None before the first evaluation."""
    caption = (
        f"Held-out loss, nats a token. {_SCALE} Read down a column: below the frame the set is older data, and a "
        "column that darkens there is forgetting. Above it is the version before, which had not seen it: transfer."
    )
    panels = _maps(document, "loss", "forgetting", "held-out set")
    return Figure("forgetting", "Every version on every held-out set", caption, panels) if panels else None


def task_forgetting(document: Document) -> Figure | None:
    """The same of ROUGE-L on instruction pairs; None where none was scored."""
    caption = (
        f"ROUGE-L F of greedy answers, points of 100. {_SCALE} Read down a column: one that pales below the frame is "
        "forgetting; above it are versions that had not seen the data."
    )
    panels = _maps(document, "rouge_l", "rouge-l", "pairs of a version")
    return Figure("rouge-l", "Every version on every version's instruction pairs", caption, panels) if panels else None


def _maps(document: Document, measure: str, file: str, column_title: str) -> tuple[tuple[str, Drawing], ...]:
    """(file, drawing) of every paradigm that has the measure."""
    matrices = {
        name: {(i, j): score for i, row in paradigm["matrices"][measure]["scores"].items() for j, score in row.items()}
        for name, paradigm in document["paradigms"].items()
        if measure in paradigm["matrices"]
    }
    versions = [version["name"] for version in document["versions"]]
    scales = {on: scale for on in versions if (scale := _scale(matrices.values(), versions, on))}
    title = MEASURES[measure].title
    return tuple(
        (
            f"{file}-{name}",
            Heatmap(
                title=name,
                description=f"{title} of every released version of {name} on the {column_title}, for every version.",
                rows=versions,
                columns=tuple(scales),
                values=matrices[name],
                scales=scales,
                slot=slot,
                digits=3 if measure == "loss" else 1,
                column_title=column_title,
            ).draw(),
        )
        for slot, name, _ in slotted(document)
        if name in matrices
    )


def _scale(matrices: Iterable[Scores], versions: Sequence[str], on: str) -> tuple[float, float] | None:
    """The ends of a column: of versions that had its data, if any was measured. What others have not learned yet is
    far from that, and would make forgetting look like nothing."""
    column = [(versions.index(i), score) for scores in matrices for (i, j), score in scores.items() if j == on]
    had_it = [score for i, score in column if i >= versions.index(on)] or [score for _, score in column]
    return (min(had_it), max(had_it)) if had_it else None
