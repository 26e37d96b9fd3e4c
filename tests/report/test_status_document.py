"""Where every path stands, as `lrps status --json` prints it."""

from __future__ import annotations

from typing import Any

import pytest

from lrps.report.status_document import status_document
from lrps.status import plan_status


def status(plan: Any) -> dict[str, Any]:
    document = status_document(plan, plan_status(plan))
    return {path["name"]: path for path in document["paths"]}


def test_every_path_is_there_before_anything_was_trained(make: Any) -> None:
    plan = make()
    paths = status(plan)
    assert list(paths) == [path.name for path in plan.graph.paths]
    assert {path["state"] for path in paths.values()} == {"planned"}
    assert paths["branch-v2"]["step"] == 700, "a branch starts at its fork"
    assert (paths["main"]["loss"], paths["main"]["tokens_per_second"], paths["main"]["updated"]) == (None, None, None)


def test_states_and_costs(make: Any, formulas: Any) -> None:
    plan = make(hardware=formulas.PRICED)
    run = formulas.Run(plan).train(
        ["main", "ptfs-v2", "ptfs-v3"], fail_at={"ptfs-v2": (700, 500)}, stop_at={"main": 900}
    )
    run.train(["ptfs-v1"])
    paths = status(plan)
    assert {name: paths[name]["state"] for name in ("main", "ptfs-v1", "ptfs-v2", "ptfs-v4")} == {
        "main": "interrupted",
        "ptfs-v1": "complete",
        "ptfs-v2": "complete",
        "ptfs-v4": "planned",
    }
    assert (paths["main"]["step"], paths["main"]["stop_step"]) == (900, 1700)
    measured = paths["ptfs-v2"]["measured"]
    assert (measured["attempts"], measured["total_steps"], measured["repeated_steps"]) == (2, 1000, 200)
    assert measured["device_hours"] == pytest.approx((1200 * 0.036 + 2 * 12) / 3600)
    assert measured["money"] == pytest.approx(2 * measured["device_hours"])
    assert paths["ptfs-v1"]["loss"] == pytest.approx(formulas.training_loss(plan.graph.by_name["ptfs-v1"], 500))
