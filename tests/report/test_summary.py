"""Sentences of a comparison: the rows that the config mixes."""

from __future__ import annotations

from typing import Any

from lrps.costs.comparison import make_comparison
from lrps.report.summary import mixing


def test_new_rows_alone_are_not_worth_a_sentence(make: Any) -> None:
    assert mixing(make_comparison(make())) == []


def test_mixes_of_single_versions_and_draws_from_the_whole_increment(make: Any) -> None:
    switching = {"branch_data": "whole", "mix_per_version": {"v3": {"new": 0.875, "replay": 0.125}}}
    comparison = make_comparison(make(paradigms={"path-switching": switching, "ptfs": {}, "cpt": {}}))
    assert mixing(comparison) == [
        "Sequences of the branches of path-switching: 100% new (v1, v2, v4); 87.5% new, 12.5% replay (v3).",
        "The branches of path-switching draw their new sequences from all data of the version.",
    ]
