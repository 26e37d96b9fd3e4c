"""Sentences of a comparison: costs, and the rows that the config mixes."""

from __future__ import annotations

from typing import Any

from lrps.base.numbers import device_time
from lrps.costs.comparison import make_comparison
from lrps.report.summary import headline, mixing


def test_allocated_hours_and_hours_in_steps_are_distinguished(make: Any, formulas: Any) -> None:
    plan = make(paradigms={"path-switching": {}}, versions=1)
    formulas.Run(plan).train(fail_at={"branch-v1": (400, 300)})
    steps = 500 + 100  # 100 of them twice
    allocated, training = device_time((steps * 0.036 + 10 + 12 + 12 + 2) / 3600), device_time(steps * 0.036 / 3600)
    assert f"Measured: {allocated} of device time allocated on cpu, {training} of it in optimizer steps." in headline(
        make_comparison(plan)
    )


def test_a_half_done_run_has_no_ratio(make: Any, formulas: Any) -> None:
    plan = make()
    formulas.Run(plan).train(["main", "branch-v1"], stop_at={"main": 900})
    said = headline(make_comparison(plan))
    assert "Measured so far: 1,200 of 2,900 steps, 1.12 min of device time allocated on cpu, 43.2 s of it in" in said
    assert "of those of PTFS" not in said


def test_new_rows_alone_are_not_worth_a_sentence(make: Any) -> None:
    assert mixing(make_comparison(make())) == []


def test_mixes_of_single_versions_and_draws_from_the_whole_increment(make: Any) -> None:
    switching = {"branch_data": "whole", "mix_per_version": {"v3": {"new": 0.875, "replay": 0.125}}}
    comparison = make_comparison(make(paradigms={"path-switching": switching, "ptfs": {}, "cpt": {}}))
    assert mixing(comparison) == [
        "Sequences of the branches of path-switching: 100% new (v1, v2, v4); 87.5% new, 12.5% replay (v3).",
        "The branches of path-switching draw their new sequences from all data of the version.",
    ]
