"""Results do not depend on how many steps a sync covers, and the first step that is not finite is named."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist

from lrps.engine.metrics_sync import MetricsSync, UnsyncedStep, mean_of_ranks, sync_metrics


@pytest.fixture(scope="module", autouse=True)
def alone() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def taken_step(step: int, loss: float, norm: torch.Tensor | float = 1.0, taken: bool = True) -> UnsyncedStep:
    return UnsyncedStep(step, torch.tensor(loss, dtype=torch.float64), norm, taken)


def sync(
    *steps: UnsyncedStep, stop: bool = False, written: bool = False, save_due: bool = False, steps_until_sync: int = 1
) -> MetricsSync:
    cpu = torch.device("cpu")
    return sync_metrics(
        list(steps), cpu, stop=stop, written=written, save_due=save_due, steps_until_sync=steps_until_sync
    )


def test_steps_in_one_sync_have_the_results_that_they_have_alone() -> None:
    steps = [taken_step(n, 1 / (n + 3), torch.tensor([n / 7]) if n % 2 else n / 7) for n in range(9)]
    together = sync(*steps)
    assert together.steps == tuple(result for step in steps for result in sync(step).steps)
    assert [result.loss for result in together.steps] == [1 / (n + 3) for n in range(9)]
    assert together.failure is None


def test_flags_are_combined_without_a_step() -> None:
    expected = MetricsSync((), stop=True, written=False, save_due=False, steps_until_sync=7, failure=None)
    assert sync(stop=True, steps_until_sync=7) == expected
    assert (sync(written=True).written, sync(save_due=True).save_due, sync().stop) == (True, True, False)


@pytest.mark.parametrize(
    ("loss", "taken", "message"),
    [
        (float("nan"), False, "step 11: the loss is nan"),
        (float("inf"), True, "step 11: the loss is inf"),
        (2.0, False, "step 11: the loss is finite but its gradients are not"),
    ],
)
def test_the_first_step_that_is_not_finite_is_named(loss: float, taken: bool, message: str) -> None:
    steps = (taken_step(10, 3.0), taken_step(11, loss, float("inf"), taken), taken_step(12, float("nan"), 1.0, False))
    found = sync(*steps)
    assert [result.loss for result in found.steps] == [3.0], "steps before it are returned"
    assert str(found.failure) == message


def test_the_losses_of_parts_are_added_and_those_of_groups_averaged() -> None:
    assert mean_of_ranks([1.0, 2.0, 3.0, 4.0]) == 2.5
    assert mean_of_ranks([1.0, 2.0, 3.0, 4.0], parts=2) == 5.0
    assert mean_of_ranks([1.0, 2.0, 3.0, 4.0], parts=4) == 10.0
    assert math.isnan(mean_of_ranks([1.0, math.nan], parts=2))
