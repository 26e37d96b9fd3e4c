"""The choice of branch lengths: optimal for what it costs, within the budget, and refused where it cannot decide."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.forecast import ForecastRefused
from lrps.forecast.branch import BranchPlan
from lrps.forecast.branch_lengths import Choice, PricedBranch, branches_to_try, candidates_of, check_decided, choose

CANDIDATE = st.tuples(st.integers(1, 50), st.integers(0, 1000)).map(
    lambda pair: PricedBranch(BranchPlan(100, pair[0], "linear"), pair[1] / 100, 0.01, float(pair[0]))
)
VERSIONS = st.lists(st.lists(CANDIDATE, min_size=1, max_size=6), min_size=1, max_size=4)


@given(VERSIONS, st.integers(4, 200))
def test_no_choice_that_costs_as_little_is_better(versions: list[list[PricedBranch]], budget: int) -> None:
    cheapest = sum(min(one.cost for one in candidates) for candidates in versions)
    if cheapest > budget:
        with pytest.raises(ForecastRefused, match="more than the budget"):
            choose(versions, budget)
        return
    chosen = choose(versions, budget)
    assert chosen.cost == sum(one.cost for one in chosen.candidates) <= budget
    for combination in itertools.product(*versions):
        if sum(one.cost for one in combination) <= chosen.cost:
            assert chosen.loss <= sum(one.loss for one in combination) + 1e-9


def test_the_budget_goes_to_the_version_that_gains_more_from_it() -> None:
    def candidates(*pairs: tuple[int, float]) -> list[PricedBranch]:
        return [PricedBranch(BranchPlan(100, steps, "linear"), loss, 0.01, float(steps)) for steps, loss in pairs]

    chosen = choose([candidates((1, 10.0), (2, 7.0)), candidates((1, 4.0), (2, 0.0))], 3)
    assert [one.cost for one in chosen.candidates] == [1.0, 2.0]


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
        candidates_of([BranchPlan(10, 5, "linear")], refuse, lambda branch: 1.0)  # type: ignore[arg-type]
    with pytest.raises(ForecastRefused, match="no saved state"):
        candidates_of([], refuse, lambda branch: 1.0)  # type: ignore[arg-type]


def test_choices_within_half_the_band_are_not_told_apart() -> None:
    def choice(loss: float) -> Choice:
        return Choice((PricedBranch(BranchPlan(10, 5, "linear"), loss, 0.01, 1.0),), 1.0, loss)

    check_decided(choice(2.0), choice(2.011))
    with pytest.raises(ForecastRefused, match="cannot tell"):
        check_decided(choice(2.0), choice(2.009))
