"""The kinds of optimizers that engines can have, by their name in `optimizer.kind` of a config."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from lrps.base.plugins.source import errors_of_plugin
from lrps.config.extensions import OPTIMIZERS
from lrps.engine.optimizers.adamw import AdamWOptimizer
from lrps.engine.optimizers.engine_optimizer import EngineOptimizer, base_optimizer

_MODULES = {
    "muon": ("lrps.engine.optimizers.muon", "MuonOptimizer"),
    "lion": ("lrps.engine.optimizers.lion", "LionOptimizer"),
}
"""Module and class of kinds that are imported only when a config names them."""
_LOADED: dict[str, type[EngineOptimizer]] = {"adamw": AdamWOptimizer}


def optimizer_kind(name: str) -> type[EngineOptimizer]:
    """Return a kind of optimizers by its name in a config. Raises ConfigError if the code of a plug-in fails."""
    if name not in _LOADED:
        plugin = OPTIMIZERS.find(name)
        if plugin is None:
            module, cls = _MODULES[name]
            _LOADED[name] = getattr(import_module(module), cls)
        else:
            with errors_of_plugin(f"optimizers.{name}", plugin.source.file):
                _LOADED[name] = plugin.value.engine()
    return _LOADED[name]


def optimizer_of(engine: Any) -> EngineOptimizer:
    """Return the optimizer of an engine. Raises TypeError if no kind makes optimizers of its class."""
    optimizer = base_optimizer(engine)
    for kind in reversed(_LOADED.values()):  # A plug-in's class may be a subclass of a built-in one.
        if isinstance(optimizer, kind.torch_class):
            return kind(engine)
    raise TypeError(f"no kind of optimizer makes {type(optimizer).__name__}")
