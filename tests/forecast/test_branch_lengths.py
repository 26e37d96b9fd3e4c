"""The choice of branch lengths: optimal for what it costs, within the budget, and refused where it cannot decide."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lrps.forecast import ForecastRefused
from lrps.forecast.branch import BranchPlan
from lrps.forecast.branch_lengths import (
    Choice,
    PossibleBranch,
    branches_to_try,
    check_decided,
    choose,
    possible_branches,
)

VERSION_STEPS = 20
LENGTHS = st.lists(
    st.tuples(st.integers(1, 30), st.integers(0, 1000)), min_size=1, max_size=6, unique_by=lambda pair: pair[0]
)


def possible(end: int, pairs: list[tuple[int, float]]) -> list[PossibleBranch]:
    """Return branches of (steps, loss) that end at a step."""
    return [
        PossibleBranch(BranchPlan(end - steps, steps, "linear"), loss, 0.01) for steps, loss in pairs if steps < end
    ]


def total(branches: tuple[PossibleBranch, ...], floor: int) -> int:
    """Return the steps of a choice by what path switching trains: the main path to the last fork, and the branches."""
    return max(floor, *(one.branch.fork for one in branches)) + sum(one.branch.steps for one in branches)


@given(st.lists(LENGTHS, min_size=1, max_size=4), st.integers(0, 60), st.integers(10, 200))
@example([[(5, 30), (18, 10)], [(20, 0), (5, 1)]], 0, 50).via("the last branch costs nothing up to the last fork")
def test_no_choice_that_costs_as_little_is_better(
    pairs: list[list[tuple[int, float]]], floor: int, budget: int
) -> None:
    versions = [
        possible(VERSION_STEPS * k, each) or possible(VERSION_STEPS * k, [(1, 1.0)]) for k, each in enumerate(pairs, 1)
    ]
    every = list(itertools.product(*versions))
    if min(total(each, floor) for each in every) > budget:
        with pytest.raises(ForecastRefused, match="more than the budget"):
            choose(versions, floor, budget)
        return
    chosen = choose(versions, floor, budget)
    assert chosen.cost == total(chosen.branches, floor) <= budget
    for each in every:
        if total(each, floor) <= chosen.cost:
            assert chosen.loss <= sum(one.loss for one in each) + 1e-9


def test_the_budget_goes_to_the_version_that_gains_more_from_it() -> None:
    versions = [possible(20, [(1, 10.0), (2, 7.0)]), possible(40, [(1, 4.0), (2, 0.0)])]
    chosen = choose(versions, 40, 43)
    assert [one.branch.steps for one in chosen.branches] == [1, 2]


def test_of_equally_good_branches_the_shortest_is_taken() -> None:
    (found,) = choose([possible(20, [(9, 1.0), (3, 1.0), (5, 1.0)])], 20, 1000).branches
    assert found.branch.steps == 3


def test_branches_end_where_the_version_ends_and_fork_where_they_can() -> None:
    found = branches_to_try(10_000, reached=7_000, saved={6_123, 900})
    assert {branch.shape for branch in found} == {"linear", "1-sqrt"}
    assert all(branch.fork + branch.steps == 10_000 for branch in found)
    assert {branch.fork for branch in found if branch.fork < 7_000} == {6_123}, "step 900 needs too long a branch"
    assert min(branch.steps for branch in found) == 200
    assert len([branch for branch in found if branch.shape == "linear"]) > 100


def test_a_version_without_any_possible_branch_is_refused_with_the_reason() -> None:
    def refuse(branch: BranchPlan) -> None:
        raise ForecastRefused("length", f"{branch.steps} steps were never tried")

    with pytest.raises(ForecastRefused, match="never tried"):
        possible_branches([BranchPlan(10, 5, "linear")], refuse)  # type: ignore[arg-type]
    with pytest.raises(ForecastRefused, match="no saved state"):
        possible_branches([], refuse)  # type: ignore[arg-type]


def test_choices_within_half_the_band_are_not_told_apart() -> None:
    def choice(loss: float) -> Choice:
        return Choice((PossibleBranch(BranchPlan(10, 5, "linear"), loss, 0.01),), 10)

    check_decided(choice(2.0), choice(2.011))
    with pytest.raises(ForecastRefused, match="cannot tell"):
        check_decided(choice(2.0), choice(2.009))
