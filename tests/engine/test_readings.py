"""What steps tell does not depend on how many of them are read at a time, and the first bad one is named."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist

from lrps.engine.readings import Reading, Unread, read


@pytest.fixture(scope="module", autouse=True)
def alone() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def unread(step: int, loss: float, norm: torch.Tensor | float = 1.0, taken: bool = True) -> Unread:
    return Unread(step, torch.tensor(loss, dtype=torch.float64), norm, taken)


def reading(*steps: Unread, stop: bool = False, sealed: bool = False, due: bool = False, patience: int = 1) -> Reading:
    return read(list(steps), torch.device("cpu"), stop=stop, sealed=sealed, due=due, patience=patience)


def test_steps_that_are_read_together_tell_what_they_tell_alone() -> None:
    steps = [unread(n, 1 / (n + 3), torch.tensor([n / 7]) if n % 2 else n / 7) for n in range(9)]
    together = reading(*steps)
    assert together.steps == tuple(result for step in steps for result in reading(step).steps)
    assert [result.loss for result in together.steps] == [1 / (n + 3) for n in range(9)]
    assert together.failure is None


def test_flags_and_patience_are_said_without_a_step() -> None:
    assert reading(stop=True, patience=7) == Reading((), stop=True, sealed=False, due=False, patience=7, failure=None)
    assert (reading(sealed=True).sealed, reading(due=True).due, reading().stop) == (True, True, False)


@pytest.mark.parametrize(
    ("loss", "taken", "told"),
    [
        (float("nan"), False, "step 11: the loss is nan"),
        (float("inf"), True, "step 11: the loss is inf"),
        (2.0, False, "step 11: the loss is finite but its gradients are not"),
    ],
)
def test_the_first_step_that_is_not_finite_is_named(loss: float, taken: bool, told: str) -> None:
    found = reading(unread(10, 3.0), unread(11, loss, float("inf"), taken), unread(12, float("nan"), 1.0, False))
    assert [result.loss for result in found.steps] == [3.0], "what came before it is told"
    assert str(found.failure).startswith(told)
    assert "no state holds it" in str(found.failure)
