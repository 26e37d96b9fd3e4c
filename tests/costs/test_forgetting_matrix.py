"""Forgetting matrices of a comparison: of the losses and scores that were measured, and of nothing else."""

from __future__ import annotations

import math
from typing import Any

import pytest

from lrps.costs.comparison import make_comparison
from lrps.costs.forgetting_matrix import forgetting_matrices
from lrps.costs.heldout_loss import HeldoutLoss
from lrps.costs.released_version import ReleasedVersion, TaskScore
from lrps.costs.spending import Spending
from lrps.costs.tagged_cost import TaggedCost
from lrps.costs.version_costs import VersionCosts
from lrps.plan.scores import MetricResult

ARCHITECTURE = {"model_type": "llama", "vocab_size": 257, "hidden_size": 128}
FREE = TaggedCost.of(Spending())


def released(version: str, losses: dict[str, float], rouge_l: dict[str, float]) -> ReleasedVersion:
    """Return a version with a loss by version, twice as large as its bits per byte, and ROUGE-L by task."""
    heldout = {on: HeldoutLoss("0" * 64, loss, loss / 2, 1, 1) for on, loss in losses.items()}
    scores = {task: TaskScore({"rouge_l": MetricResult(value, None, True)}, 1) for task, value in rouge_l.items()}
    return ReleasedVersion(version, "main", 1, heldout, None, scores, VersionCosts(FREE, FREE, FREE))


def test_a_comparison_has_the_matrices_of_what_was_measured(trained: Any, formulas: Any) -> None:
    paradigm = make_comparison(trained).paradigms["path-switching"]
    found, loss = paradigm.matrices, lambda i, j: formulas.heldout_loss("branch", f"v{i}", f"v{j}")
    assert list(found) == ["loss", "perplexity", "bits_per_byte"]
    assert found["loss"].average == pytest.approx(paradigm.releases[-1].seen_loss)
    assert found["loss"].forward_transfer == pytest.approx(sum(loss(k - 1, k) for k in (2, 3, 4)) / 3)
    assert found["loss"].backward_transfer == pytest.approx(sum(loss(4, k) - loss(k, k) for k in (1, 2, 3)) / 3)
    assert found["perplexity"].average == pytest.approx(sum(math.exp(loss(4, k)) for k in (1, 2, 3, 4)) / 4)
    assert found["bits_per_byte"].scores["v3"] == {f"v{j}": loss(3, j) / 2 for j in (1, 2, 3, 4)}
    assert not any(matrix.higher_is_better for matrix in found.values())


def test_a_plan_from_a_given_model_has_row_0_and_the_change_since_then(make: Any, formulas: Any) -> None:
    plan = make(model={"architecture": ARCHITECTURE, "initial_state": "nowhere"})
    formulas.Run(plan).train(["main", "branch-v1", "branch-v2"])
    comparison = make_comparison(plan)
    assert {on: found.loss for on, found in (comparison.initial_heldout or {}).items()} == {
        f"v{j}": formulas.initial_loss(f"v{j}") for j in (1, 2, 3, 4)
    }
    for paradigm, newest in (("path-switching", 2), ("cpt", None)):
        found = comparison.paradigms[paradigm].matrices
        assert list(found) == ["loss", "perplexity", "bits_per_byte"]
        assert found["loss"].initial == {f"v{j}": formulas.initial_loss(f"v{j}") for j in (1, 2, 3, 4)}
        assert found["bits_per_byte"].initial == {f"v{j}": formulas.initial_loss(f"v{j}") / 2 for j in (1, 2, 3, 4)}
        if newest is None:
            assert (found["loss"].scores, found["loss"].change_since_initial) == ({}, None)
    loss = comparison.paradigms["path-switching"].matrices["loss"]
    changes = [formulas.heldout_loss("branch", "v2", on) - formulas.initial_loss(on) for on in ("v1", "v2")]
    assert loss.change_since_initial == pytest.approx(sum(changes) / 2)
    others = [formulas.heldout_loss("branch", "v2", "v1") - formulas.heldout_loss("branch", "v1", "v1")]
    assert loss.backward_transfer == pytest.approx(sum(others)), "as the paper defines it"


def test_drawn_weights_have_no_row_0(trained: Any) -> None:
    comparison = make_comparison(trained)
    assert comparison.initial_heldout is None
    loss = comparison.paradigms["cpt"].matrices["loss"]
    assert (loss.initial, loss.change_since_initial) == (None, None)


def test_there_is_no_matrix_before_the_first_evaluation(make: Any) -> None:
    assert make_comparison(make()).paradigms["cpt"].matrices == {}


def test_a_perplexity_beyond_all_floats_is_left_out() -> None:
    assert list(forgetting_matrices(["v1"], [released("v1", {"v1": 1e4}, {})], {}, {})) == ["loss", "bits_per_byte"]


def test_rouge_l_of_a_version_waits_for_all_its_tasks() -> None:
    releases = [released("v1", {}, {"task0": 30.0, "task1": 50.0}), released("v2", {}, {"task0": 20.0})]
    found = forgetting_matrices(["v1", "v2"], releases, {"task0": "v1", "task1": "v1", "other": None}, {})
    assert found["rouge_l"].scores == {"v1": {"v1": 40.0}}
