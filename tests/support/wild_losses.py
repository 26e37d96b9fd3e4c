"""Losses of real engines that are wild at single steps, with their gradients: spikes and values that are not finite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from lrps.engine.deepspeed_engine import Engine


@contextmanager
def losses_times(factor_of: Callable[[int], float]) -> Iterator[None]:
    """Within the context, multiply the training loss of this rank at each lineage step by `factor_of(step)`."""
    train_step, accumulate, now = Engine.train_step, Engine._accumulate, [1.0]

    def step(engine: Engine, *rows: Any, **more: Any) -> bool:
        now[0] = factor_of(more["step"])
        return train_step(engine, *rows, **more)

    def accumulated(engine: Engine, micro: Any) -> Any:
        loss_of = Engine._loss
        with patch.object(Engine, "_loss", lambda *inputs: loss_of(*inputs) * now[0]):
            return accumulate(engine, micro)

    with patch.object(Engine, "train_step", step), patch.object(Engine, "_accumulate", accumulated):
        yield
