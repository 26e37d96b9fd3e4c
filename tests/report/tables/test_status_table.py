"""The tree of paths of `lrps status`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from lrps.base.numbers import amount, device_time, loss
from lrps.costs.status_document import SlurmJob, StatusDocument, status_document
from lrps.plan.status import plan_status
from lrps.report.tables.status_table import print_status, status_table
from lrps.report.tree import tree_rows


def rows_of(document: StatusDocument) -> dict[str, Mapping[str, str]]:
    """Return the cells of each path by the title of their column, by its name behind the lines of the tree."""
    table = status_table(document, list(tree_rows(document.paths)))
    return {texts[0]: dict(zip(table.titles, texts, strict=True)) for texts in table.texts}


def test_paths_are_a_tree(make: Any, formulas: Any, capsys: pytest.CaptureFixture[str]) -> None:
    plan = make()
    formulas.Run(plan).train(["main", "ptfs-v1"], stop_at={"main": 850})
    document = status_document(plan, plan_status(plan))
    rows = rows_of(document)
    assert rows["main"] == {
        "path": "main",
        "state": "interrupted",
        "step": "850/1,700",
        "loss": loss(formulas.training_loss(plan.graph.by_name["main"], 850)),
        "ETA": "n/a",
        "tokens/s": "14.2K",
        "MFU": "n/a",
        "device time": device_time((850 * 0.036 + 12) / 3600),
        "to come": device_time(document.paths[0].to_come.device_hours),
        "done": "50.0%",
        "from": "0",
        "saved": "850",
    }
    assert [rows["├─ branch-v1"][title] for title in ("state", "step", "done", "from")] == [
        *("planned", "200/500", "0.0%", "200"),
    ]
    assert {"└─ branch-v4", "   └─ cpt-v3"} <= rows.keys(), "the last child, and a grandchild below its parent"
    assert [rows["ptfs-v2"][title] for title in ("loss", "tokens/s", "MFU", "ETA", "device time")] == ["n/a"] * 5
    print_status(document)
    text = capsys.readouterr().out
    assert "1,350 of 9,400 steps (14.4%)" in text
    assert "EUR" not in text


def test_the_losses_of_a_given_model_are_below_the_tree(
    make: Any, formulas: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    architecture = {"model_type": "llama", "vocab_size": 257, "hidden_size": 128}
    plan = make(model={"architecture": architecture, "initial_state": "nowhere"})
    formulas.Run(plan).train(["main"], stop_at={"main": 850})
    document = status_document(plan, plan_status(plan))
    print_status(document)
    text = " ".join(capsys.readouterr().out.split())
    assert "held-out loss of the initial model: v1 2.4500, v2 2.6000, v3 2.7500, v4 2.9000" in text
    print_status(replace(document, initial_heldout=None))
    assert "initial model" not in capsys.readouterr().out


def test_a_price_shows_money(make: Any, formulas: Any, capsys: pytest.CaptureFixture[str]) -> None:
    plan = make(hardware=formulas.PRICED)
    formulas.Run(plan).train(["main", "ptfs-v1"], stop_at={"main": 850})
    document = status_document(plan, plan_status(plan))
    first, *rest = document.paths
    document = replace(document, paths=(replace(first, warning="no sign of life for 4m00s"), *rest))
    assert rows_of(document)["main"]["EUR"] == amount(first.measured.money)
    assert rows_of(document)["main"]["EUR to come"] == amount(first.to_come.money)
    print_status(document)
    text = " ".join(capsys.readouterr().out.split())
    spent, to_come = document.spent, document.to_come
    assert f"device time: {device_time(spent.device_hours)} ({amount(spent.money)} EUR) so far" in text
    assert f"{device_time(to_come.device_hours)} ({amount(to_come.money)} EUR) to come, measured" in text
    assert "warning: main: no sign of life for 4m00s" in text


def test_jobs_have_a_column_where_there_are_any(make: Any) -> None:
    plan = make()
    statuses = plan_status(plan)
    assert "job" not in rows_of(status_document(plan, statuses))["main"]
    jobs = {
        "main": SlurmJob("7", None, "Dependency", None),
        "branch-v1": SlurmJob("8", "PENDING", "Dependency", None),
    }
    rows = rows_of(status_document(plan, statuses, jobs))
    assert [rows[name]["job"] for name in ("main", "├─ branch-v1", "├─ branch-v2")] == [
        *("7 unknown", "8 PENDING (Dependency)", "n/a"),
    ]
