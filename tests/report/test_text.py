"""What the terminal shows: at the start, half-way and at the end."""

from __future__ import annotations

from typing import Any

import pytest

from lrps.base.numbers import amount, loss
from lrps.costs.comparison import comparison_document
from lrps.costs.status_document import status_document
from lrps.plan.status import plan_status
from lrps.report.tags import RATIOS, START_UP
from lrps.report.text import print_comparison, print_status


def line_of(text: str, start: str) -> list[str]:
    return next(line for line in text.splitlines() if line.startswith(start)).split()


def test_status_is_a_tree(make: Any, formulas: Any, capsys: pytest.CaptureFixture[str]) -> None:
    plan = make()
    formulas.Run(plan).train(["main", "ptfs-v1"], stop_at={"main": 850})
    print_status(status_document(plan, plan_status(plan)))
    text = capsys.readouterr().out
    assert line_of(text, "main")[1:6] == ["interrupted", "0", "850", "1,700", "50.0%"]
    assert line_of(text, "├─ branch-v1")[2:7] == ["planned", "200", "200", "500", "0.0%"]
    assert line_of(text, "└─ branch-v4")
    assert line_of(text, "   └─ cpt-v3"), "a grandchild stands below its parent"
    assert line_of(text, "main")[6:8] == ["850", loss(formulas.training_loss(plan.graph.by_name["main"], 850))]
    assert line_of(text, "main")[-2] == amount((850 * 0.036 + 12) / 3600)
    assert line_of(text, "ptfs-v2")[-6:-1] == ["n/a"] * 5, "loss, speed, MFU, ETA, cost so far"
    assert "1,350 of 9,400 steps (14.4%)" in text
    assert "EUR" not in text


def test_status_with_a_price_shows_money(make: Any, formulas: Any, capsys: pytest.CaptureFixture[str]) -> None:
    plan = make(hardware=formulas.PRICED)
    formulas.Run(plan).train(["main", "ptfs-v1"], stop_at={"main": 850})
    document = status_document(plan, plan_status(plan))
    document["paths"][0]["warning"] = "no sign of life for 4m00s"
    print_status(document)
    text = capsys.readouterr().out
    spent, to_come = document["spent"], document["to_come"]
    assert f"spent {amount(spent['device_hours'])} device-hours ({amount(spent['money'])} EUR)" in text
    assert f"to come {amount(to_come['device_hours'])} device-hours ({amount(to_come['money'])} EUR), measured" in text
    assert line_of(text, "main")[-2] == amount(document["paths"][0]["measured"]["money"])
    assert "warning: main: no sign of life for 4m00s" in text


def test_comparison_of_a_finished_run(trained: Any, capsys: pytest.CaptureFixture[str]) -> None:
    print_comparison(comparison_document(trained))
    text = capsys.readouterr().out
    cells = line_of(text, "path-switching  2,900")
    assert cells[:4] == ["path-switching", "2,900", "58.0%", "145.0%"]
    assert cells[4:8] == ["0.0457", "0.0913", "58.0%", "72.1%"]
    assert "training time, of PTFS  held, of PTFS" in text
    assert RATIOS in " ".join(text.split())
    assert START_UP in " ".join(text.split())
    assert line_of(text, "cpt  ")[-2:-1] == ["150"]
    assert "measured EUR" in text
    assert "~" not in text
    assert line_of(text, "path-switching  v4")[2:5] == ["800", "1,266.7", "2,000"]
    assert "one seed" in text
    assert "Everything is trained and evaluated." in text
    assert "n/a" not in text


def test_comparison_before_anything_was_trained(make: Any, capsys: pytest.CaptureFixture[str]) -> None:
    print_comparison(comparison_document(make()))
    text = capsys.readouterr().out
    assert line_of(text, "path-switching  2,900") == [
        "path-switching",
        "2,900",
        "58.0%",
        "145.0%",
        *("n/a", "n/a", "n/a", "n/a"),
        "n/a",  # what all of it would cost: no hardware
        "n/a",
    ]
    assert "Nothing of path-switching was measured yet." in " ".join(text.split())
    assert "9,400 steps of 12 paths (`lrps run CONFIG`)" in " ".join(text.split())
    assert "`lrps data build CONFIG`" in text, "the config names no shards"
    assert "one seed" not in text


def test_comparison_half_way(make: Any, formulas: Any, capsys: pytest.CaptureFixture[str]) -> None:
    plan = make()
    formulas.Run(plan).train(["main", "branch-v1"], stop_at={"main": 900})
    print_comparison(comparison_document(plan))
    text = " ".join(capsys.readouterr().out.split())
    assert "Measured so far: 1,200 of 2,900 steps" in text
    assert "0.0187 so far" in text
    a_step = (1200 * 0.036 + 2 * 12) / 1200
    assert f"{amount((1200 * 0.036 + 2 * 12 + 1700 * a_step) / 3600)}~" in text
    assert "~ modelled, in whole or in part" in text
    assert "8,200 steps of 11 paths" in text


def test_status_shows_jobs_where_there_are_any(make: Any, capsys: pytest.CaptureFixture[str]) -> None:
    plan = make()
    statuses = plan_status(plan)
    print_status(status_document(plan, statuses))
    assert " job " not in capsys.readouterr().out
    facts = {"job_id": "8", "reason": "Dependency", "trouble": None}
    jobs = {"main": {**facts, "job_id": "7", "state": None}, "branch-v1": {**facts, "state": "PENDING"}}
    print_status(status_document(plan, statuses, jobs))
    text = capsys.readouterr().out
    assert line_of(text, "main")[1:4] == ["7", "unknown", "planned"]
    assert line_of(text, "├─ branch-v1")[2:6] == ["8", "PENDING", "(Dependency)", "planned"]
    assert line_of(text, "├─ branch-v2")[2:4] == ["n/a", "planned"]
