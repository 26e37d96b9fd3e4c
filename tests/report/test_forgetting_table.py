"""What versions keep, as tables: every measure of every paradigm, in words and in numbers."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from lrps.costs.comparison import comparison_document
from lrps.report.files import FORMATS
from lrps.report.forgetting_table import cells, records, shown


def test_rows_for_people(trained: Any) -> None:
    document = comparison_document(trained)
    head, rows = shown(document)
    assert len(head) == 6
    assert [row[:3] for row in rows[:3]] == [
        ["held-out loss", name, "v4"] for name in ("path-switching", "ptfs", "cpt")
    ]
    assert [row[0] for row in rows[3::3]] == ["perplexity", "bits per byte"]
    loss = document["paradigms"]["cpt"]["matrices"]["loss"]
    assert rows[2][3:] == [
        f"{loss['average']:.4f}",
        f"{loss['forward_transfer']:.4f}",
        f"{loss['backward_transfer']:+.4f}",
    ]


def test_holes_are_not_applicable(make: Any, formulas: Any) -> None:
    plan = make()
    formulas.Run(plan).train(["main", "branch-v1", "branch-v3"])
    _, rows = shown(comparison_document(plan))
    assert [row[1:] for row in rows if row[0] == "held-out loss"] == [
        ["path-switching", "v3", f"{_mean_of(formulas):.4f}", "n/a", "n/a"]
    ]
    assert shown(comparison_document(make(name="new")))[1] == []


def _mean_of(formulas: Any) -> float:
    return sum(formulas.heldout_loss("branch", "v3", f"v{j}") for j in (1, 2, 3)) / 3


def test_files_hold_the_means_and_the_matrix_at_full_precision(trained: Any) -> None:
    document = comparison_document(trained)
    files = FORMATS["csv"](document)
    means = list(csv.DictReader(io.StringIO(files["forgetting.csv"])))
    assert [list(means[0]), len(means)] == [records(document)[0], 9]
    loss = document["paradigms"]["ptfs"]["matrices"]["loss"]
    (row,) = (row for row in means if (row["paradigm"], row["measure"]) == ("ptfs", "loss"))
    assert (row["better"], row["after"], float(row["backward_transfer"])) == ("lower", "v4", loss["backward_transfer"])
    matrix = list(csv.DictReader(io.StringIO(files["matrix.csv"])))
    assert [list(matrix[0]), len(matrix)] == [cells(document)[0], 3 * 3 * (2 + 3 + 4 + 4)]
    (cell,) = (
        cell
        for cell in matrix
        if (cell["paradigm"], cell["measure"], cell["after_version"], cell["on_version"]) == ("cpt", "loss", "v4", "v1")
    )
    assert float(cell["score"]) == document["paradigms"]["cpt"]["matrices"]["loss"]["scores"]["v4"]["v1"]


@pytest.mark.parametrize("form", ["md", "html", "tex"])
def test_every_document_has_them(trained: Any, form: str) -> None:
    document = comparison_document(trained)
    text = "".join(FORMATS[form](document).values())
    assert f"{document['paradigms']['cpt']['matrices']['loss']['backward_transfer']:+.4f}" in text
    assert "above 0 is forgetting" in text
