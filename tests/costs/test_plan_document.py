"""The plan document: the numbers of method.md, computed here by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lrps.costs.plan_document import plan_document, write_plan_json

T = 500


@pytest.fixture
def document(make: Any) -> dict[str, Any]:
    return plan_document(make())


@pytest.mark.parametrize(
    ("name", "steps", "of_ptfs", "of_cpt"),
    [("path-switching", 5.8 * T, 0.58, 1.45), ("ptfs", 10 * T, 1.0, 2.5), ("cpt", 4 * T, 0.4, 1.0)],
)
def test_totals_of_four_versions(
    document: dict[str, Any], name: str, steps: float, of_ptfs: float, of_cpt: float
) -> None:
    paradigm = document["paradigms"][name]
    assert paradigm["total_steps"] == pytest.approx(steps, abs=0)
    assert paradigm["total_tokens"] == steps * 4 * 64
    assert paradigm["total_flops"] == paradigm["total_tokens"] * 6 * 460_000
    assert (paradigm["ratio_to_ptfs"], paradigm["ratio_to_cpt"]) == pytest.approx((of_ptfs, of_cpt), abs=1e-12)
    assert sum(path["steps"] for path in paradigm["paths"]) == paradigm["total_steps"]


def test_a_path_that_two_paradigms_share_counts_once_in_the_graph(document: dict[str, Any]) -> None:
    shared = {p["name"] for p in document["paradigms"]["cpt"]["paths"]} & {
        p["name"] for p in document["paradigms"]["ptfs"]["paths"]
    }
    assert shared == {"ptfs-v1"}
    assert document["graph"]["total_steps"] == 5.8 * T + 10 * T + 4 * T - T


def test_the_last_version_and_the_next_one(document: dict[str, Any]) -> None:
    last = {name: added["total_steps"] for name, added in document["marginal"].items()}
    following = {name: added["total_steps"] for name, added in document["next"].items()}
    assert last == {"path-switching": 1.6 * T, "ptfs": 4 * T, "cpt": T}
    assert following == {"path-switching": 1.6 * T, "ptfs": 5 * T, "cpt": T}


def test_a_plan_of_one_version_has_no_margin(make: Any) -> None:
    assert plan_document(make(versions=1))["marginal"] is None


def test_steps_count_along_the_lineage(document: dict[str, Any]) -> None:
    branch = next(p for p in document["paradigms"]["path-switching"]["paths"] if p["name"] == "branch-v2")
    assert branch["parent"] == {"path": "main", "step": 2 * T - 300}
    assert (branch["start_step"], branch["stop_step"]) == (700, 1000)
    assert (branch["lr_start"], branch["lr_stop"]) == (3e-3, 0.0)
    assert branch["data"] == [{"source": "v2", "from_row": 800, "to_row": 2000}]


def test_what_is_done_is_not_to_do(make: Any) -> None:
    document = plan_document(make(), {"main": 600, "ptfs-v1": 500, "branch-v2": 700})
    assert document["to_do"]["total_steps"] == 9400 - 600 - 500
    assert document["paradigms"]["cpt"]["steps_to_do"] == 1500


def test_a_mix_is_counted_in_tokens(make: Any, rehearsing: Any) -> None:
    document = plan_document(rehearsing)
    assert document["rehearsal"] == [
        {"name": "r", "since": "v2", "rows": 30, "tokens": 30 * 64, "manifest_sha256": None}
    ]
    mixes = {p["name"]: p["mix_tokens"] for q in document["paradigms"].values() for p in q["paths"]}
    branch = {"new": 840 * 64, "replay": 120 * 64, "rehearsal": 240 * 64}
    assert mixes["branch-v2"] == mixes["branch-v4"] == branch
    assert mixes["branch-v1"] == {"new": 1200 * 64, "replay": 0, "rehearsal": 0}
    assert mixes["ptfs-v3"] == {"new": 6000 * 64, "replay": 0, "rehearsal": 0}
    assert mixes["cpt-v3"] == {"new": 1800 * 64, "replay": 200 * 64, "rehearsal": 0}
    paths = [path for paradigm in document["paradigms"].values() for path in paradigm["paths"]]
    assert all(path["tokens"] == sum(path["mix_tokens"].values()) for path in paths)
    assert document["graph"] == plan_document(make())["graph"], "a mix costs nothing"


def test_the_disk_holds_what_is_kept(make: Any) -> None:
    def states(**checkpoint: int) -> int:
        plan = make(paradigms={"ptfs": {}}, checkpoint=checkpoint)
        total, each = plan_document(plan)["graph"]["checkpoint_bytes"], plan.costs.checkpoint_bytes
        assert total % each == 0
        return int(total // each)

    ends = [path.stop for path in make(paradigms={"ptfs": {}}).graph.paths]
    assert states() == len(ends)
    assert states(every_steps=100, keep_last=3) == len(ends) + 3
    multiples = sum(len({*range(300, end, 300)} | {end}) for end in ends)
    assert states(every_steps=100, keep_last=3, keep_every_steps=300) == multiples + 3


def test_unknown_costs_are_null(make: Any) -> None:
    unknown = plan_document(make(model={"architecture": {"model_type": "unheard-of", "vocab_size": 9}}))
    assert {unknown["graph"][key] for key in ("total_flops", "device_hours", "money", "checkpoint_bytes")} == {None}


def test_plan_json_holds_config_and_plan(make: Any) -> None:
    plan = make()
    write_plan_json(plan)
    written = json.loads(plan.layout.plan_json.read_text())
    assert written["config"]["schedule"]["peak_lr"] == 3e-3
    assert written["plan"]["paradigms"]["path-switching"]["total_steps"] == 2900
