"""Averages as alternatives to a branch: measured at the end of an increment, and the offset rule at the same length."""

from __future__ import annotations

import pytest

from lrps.costs.curves.heldout_curve import AveragePoint, BranchEnd, HeldoutCurve
from lrps.costs.forecasts.average_rows import average_rows
from lrps.costs.forecasts.finished_branch import FinishedBranch

LAST = [FinishedBranch("v1", "branch-v1", 400, 600)]
LONGER = FinishedBranch("v2", "branch-v2", 200, 1_300)
BOTH = ("v1", "v2")
CURVE = HeldoutCurve(
    points=(),
    branch_ends=(
        BranchEnd("v1", "branch-v1", 1_000, "v1", 2.90),
        BranchEnd("v1", "branch-v1", 1_000, "v2", 3.10),
        BranchEnd("v1", "other-v1", 1_000, "v1", 1.0),
    ),
    differences=(),
    device_hours=0.0,
    averages=(
        AveragePoint(1_000, "ema", "v1", 2.95),
        AveragePoint(1_000, "ema", "v2", 3.20),
        AveragePoint(1_500, "ema", "v1", 2.80),
        AveragePoint(2_000, "ema", "v1", 2.70),
        AveragePoint(2_000, "ema", "v2", 2.90),
        AveragePoint(2_000, "ema", "v3", 3.30),
        AveragePoint(2_000, "merge", "v1", 2.75),
    ),
)


def test_a_branch_is_as_far_below_its_average_as_the_last_one_was() -> None:
    ema, merge = average_rows(CURVE, 2_000, 600, LAST, BOTH)
    assert (ema.form, ema.step, merge.form) == ("ema", 2_000, "merge")
    assert {each: found.loss for each, found in ema.losses.items()} == {"v1": 2.70, "v2": 2.90, "v3": 3.30}
    assert ema.losses["v1"].branch == pytest.approx(2.70 - 0.05)
    assert ema.losses["v2"].branch == pytest.approx(2.90 - 0.10)
    assert ema.losses["v3"].branch is None
    assert ema.mean_loss == pytest.approx(2.80)
    assert ema.mean_branch == pytest.approx(2.725)


def test_a_mean_needs_all_sets_of_the_versions_so_far() -> None:
    _, merge = average_rows(CURVE, 2_000, 600, LAST, BOTH)
    assert (merge.mean_loss, merge.mean_branch, merge.losses["v1"].branch) == (None, None, None)
    ema, _ = average_rows(CURVE, 2_000, 600, LAST, (*BOTH, "v3"))
    assert ema.mean_loss == pytest.approx((2.70 + 2.90 + 3.30) / 3)
    assert ema.mean_branch is None


@pytest.mark.parametrize(("steps", "last"), [(700, LAST), (500, LAST), (600, []), (600, [LONGER])])
def test_another_length_or_no_branch_gives_no_offset(steps: int, last: list[FinishedBranch]) -> None:
    ema, _ = average_rows(CURVE, 2_000, steps, last, BOTH)
    assert ema.mean_loss == pytest.approx(2.80)
    assert {found.branch for found in ema.losses.values()} == {None}


def test_there_is_no_row_before_the_end_of_the_increment() -> None:
    assert list(average_rows(CURVE, 3_000, 600, LAST, BOTH)) == []


def test_the_offset_is_that_of_the_last_branch_of_the_same_length() -> None:
    ema, _ = average_rows(CURVE, 2_000, 600, [*LAST, LONGER], BOTH)
    assert ema.losses["v1"].branch == pytest.approx(2.70 - 0.05)
