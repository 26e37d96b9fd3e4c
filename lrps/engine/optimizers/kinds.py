"""The kinds of optimizers that engines can have."""

from __future__ import annotations

from typing import Any

from lrps.engine.optimizers.adamw import AdamWOptimizer
from lrps.engine.optimizers.engine_optimizer import EngineOptimizer, base_optimizer

_KINDS: list[type[EngineOptimizer]] = [AdamWOptimizer]


def optimizer_of(engine: Any) -> EngineOptimizer:
    """Return the optimizer of an engine. Raises TypeError if no kind makes optimizers of its class."""
    optimizer = base_optimizer(engine)
    for kind in _KINDS:
        if isinstance(optimizer, kind.torch_class):
            return kind(engine)
    raise TypeError(f"no kind of optimizer makes {type(optimizer).__name__}")
