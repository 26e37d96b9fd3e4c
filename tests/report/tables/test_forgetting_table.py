"""What versions keep, as tables: every measure of every paradigm, in words and in numbers."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from lrps.costs.comparison import make_comparison
from lrps.report.comparison_text import _losses_table
from lrps.report.files import FORMATS
from lrps.report.tables.forgetting_table import forgetting_records, forgetting_table, matrix_records


def test_rows_for_people(trained: Any) -> None:
    document = make_comparison(trained)
    table = forgetting_table(document)
    rows = table.texts
    assert len(table.titles) == 6
    assert [row[:3] for row in rows[:3]] == [
        ("held-out loss", name, "v4") for name in ("path-switching", "ptfs", "cpt")
    ]
    assert [row[0] for row in rows[3::3]] == ["perplexity", "bits per byte"]
    loss = document.paradigms["cpt"].matrices["loss"]
    assert rows[2][3:] == (f"{loss.average:.4f}", f"{loss.forward_transfer:.4f}", f"{loss.backward_transfer:+.4f}")


def test_holes_are_not_applicable(make: Any, formulas: Any) -> None:
    plan = make()
    formulas.Run(plan).train(["main", "branch-v1", "branch-v3"])
    rows = forgetting_table(make_comparison(plan)).texts
    assert [row[1:] for row in rows if row[0] == "held-out loss"] == [
        ("path-switching", "v3", f"{_mean_of(formulas):.4f}", "n/a", "n/a")
    ]
    assert forgetting_table(make_comparison(make(name="new"))).rows == ()


def test_row_0_of_a_given_model_is_in_every_document(make: Any, formulas: Any) -> None:
    architecture = {"model_type": "llama", "vocab_size": 257, "hidden_size": 128}
    plan = make(model={"architecture": architecture, "initial_state": "nowhere"})
    formulas.Run(plan).train(["main", "branch-v1", "branch-v2"])
    comparison = make_comparison(plan)
    loss = comparison.paradigms["path-switching"].matrices["loss"]
    table = forgetting_table(comparison)
    assert table.titles[-1] == "since the start"
    assert table.texts[0][-1] == f"{loss.change_since_initial:+.4f}"
    means = next(csv.DictReader(io.StringIO(FORMATS["csv"](comparison)["forgetting.csv"])))
    assert float(means["change_since_initial"]) == loss.change_since_initial
    matrix = list(csv.DictReader(io.StringIO(FORMATS["csv"](comparison)["matrix.csv"])))
    first = [row for row in matrix if (row["paradigm"], row["measure"]) == ("path-switching", "loss")][:4]
    assert [(row["after_version"], row["on_version"], float(row["score"])) for row in first] == [
        ("(initial)", f"v{j}", formulas.initial_loss(f"v{j}")) for j in (1, 2, 3, 4)
    ]
    page = FORMATS["html"](comparison)
    assert f"(initial) on v3: {formulas.initial_loss('v3'):.4f}" in page["figures/forgetting-path-switching.svg"]
    assert "The row (initial) is the model that the plan starts from." in page["index.html"]
    assert "v3 on v3" not in page["figures/forgetting-cpt.svg"]
    assert "(initial) on v4" not in page["figures/forgetting-cpt.svg"], "no version was measured on it yet"
    printed = [row for row in _losses_table(comparison).texts if row[0] == "(initial)"]
    assert printed[0][2] == f"{(formulas.initial_loss('v1') + formulas.initial_loss('v2')) / 2:.4f} (" + (
        f"{formulas.initial_loss('v2') / 2:.4f})"
    )


def _mean_of(formulas: Any) -> float:
    return sum(formulas.heldout_loss("branch", "v3", f"v{j}") for j in (1, 2, 3)) / 3


def test_files_hold_the_means_and_the_matrix_at_full_precision(trained: Any) -> None:
    document = make_comparison(trained)
    files = FORMATS["csv"](document)
    means = list(csv.DictReader(io.StringIO(files["forgetting.csv"])))
    assert [tuple(means[0]), len(means)] == [forgetting_records(document).titles, 9]
    loss = document.paradigms["ptfs"].matrices["loss"]
    (row,) = (row for row in means if (row["paradigm"], row["measure"]) == ("ptfs", "loss"))
    assert (row["better"], row["after"], float(row["backward_transfer"])) == ("lower", "v4", loss.backward_transfer)
    matrix = list(csv.DictReader(io.StringIO(files["matrix.csv"])))
    assert [tuple(matrix[0]), len(matrix)] == [matrix_records(document).titles, 3 * 3 * (2 + 3 + 4 + 4)]
    (cell,) = (
        cell
        for cell in matrix
        if (cell["paradigm"], cell["measure"], cell["after_version"], cell["on_version"]) == ("cpt", "loss", "v4", "v1")
    )
    assert float(cell["score"]) == document.paradigms["cpt"].matrices["loss"].scores["v4"]["v1"]


@pytest.mark.parametrize("form", ["md", "html", "tex"])
def test_every_document_has_them(trained: Any, form: str) -> None:
    document = make_comparison(trained)
    text = "".join(FORMATS[form](document).values())
    assert f"{document.paradigms['cpt'].matrices['loss'].backward_transfer:+.4f}" in text
    assert "above 0 is forgetting" in text
