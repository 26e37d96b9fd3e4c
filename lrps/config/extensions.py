"""Extension points: the registries of decay shapes, paradigms, trackers, callbacks and optimizers.

docs/extending.md describes what a plug-in of each kind is.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from lrps.base.errors import ConfigError
from lrps.base.plugins.registry import Plugin, Registry
from lrps.base.plugins.source import errors_of_plugin

Registered = TypeVar("Registered", bound=Callable[..., Any])


@dataclass(frozen=True)
class PluginParadigm:
    """A paradigm from a plug-in."""

    compile: Callable[..., Any]
    """Function from a Compiler and its strategy to a Paradigm."""
    section: type[Any] | None = None
    """Class of its strategy in a config, a subclass of PluginStrategy; None for one without keys of its own."""


@dataclass(frozen=True)
class PluginOptimizer:
    """An optimizer from a plug-in."""

    engine: Callable[[], type[Any]]
    """Function without arguments that returns a subclass of EngineOptimizer; it may import torch."""
    states: Callable[[str], tuple[Any, ...]]
    """Function from engine.precision to the states of the optimizer, each an OptimizerState."""
    section: type[Any] | None = None
    """Class of its settings in a config, a subclass of PluginOptimizerConfig; None for one without keys of its own."""


def _check_decay(name: str, value: Any) -> None:
    """Raise ConfigError for a function that is no decay shape: it falls from 1 at progress 0 to 0 at progress 1."""
    if not callable(value):
        raise ConfigError(f"decays: '{name}' is no function of the progress from 0 to 1")
    with errors_of_plugin(f"decays.{name}"):
        ends = value(0.0), value(1.0)
    if not all(math.isclose(end, share, abs_tol=1e-9) for end, share in zip(ends, (1, 0), strict=True)):
        raise ConfigError(
            f"decays: '{name}' goes from {ends[0]:g} to {ends[1]:g}; a decay shape falls from 1 at progress 0 to 0 at "
            "progress 1, and lrps scales it to the rates at its ends"
        )


def _check_paradigm(name: str, value: Any) -> None:
    if not isinstance(value, PluginParadigm):
        raise ConfigError(f"paradigms: '{name}' is not registered by register_paradigm, which its module has to do")


def _check_optimizer(name: str, value: Any) -> None:
    if not isinstance(value, PluginOptimizer):
        raise ConfigError(f"optimizers: '{name}' is not registered by register_optimizer, which its module has to do")


def _check_callable(name: str, value: Any) -> None:
    if not callable(value):
        raise ConfigError(f"'{name}' cannot be registered: a class or a function is needed, not {value!r}")


DECAYS = Registry("decays", ("linear", "cosine", "1-sqrt", "exponential", "inverse", "multi-step"), _check_decay)
"""Decay shapes; lrps.paths.schedule has the formulas of the built-in ones."""
PARADIGMS = Registry("paradigms", ("path-switching", "ptfs", "cpt", "wsd-s"), _check_paradigm)
"""Paradigms by the `kind` of their strategy; lrps.paths.paradigms compiles the built-in ones."""
TRACKERS = Registry("trackers", ("wandb", "tensorboard", "trackio"), _check_callable)
"""Trackers; lrps.track.trackers opens them."""
CALLBACKS = Registry("callbacks", (), _check_callable)
"""Callbacks of the training loop; lrps.train.callbacks runs them."""
OPTIMIZERS = Registry("optimizers", ("adamw", "muon", "lion"), _check_optimizer)
"""Optimizers by `optimizer.kind`; lrps.engine.optimizers makes the built-in ones."""


def register_decay(name: str, *, version: str | None = None) -> Callable[[Registered], Registered]:
    """Return a decorator that registers a decay shape under a name for `decay` in a config.

    The function gets the progress p from 0 to 1 of the decay, and returns its height: 1 at p = 0, 0 at p = 1. lrps
    scales it to the rates at its ends.

    >>> @register_decay("quadratic")
    ... def quadratic(progress: float) -> float:
    ...     return (1 - progress) ** 2
    """
    return _registering(DECAYS, name, version)


def register_paradigm(
    name: str, *, section: type[Any] | None = None, version: str | None = None
) -> Callable[[Registered], Registered]:
    """Return a decorator that registers a paradigm under a name for `kind` of a strategy in a config.

    The function gets a Compiler and the strategy, and returns a Paradigm. section: subclass of PluginStrategy with the
    paradigm's own keys.
    """

    def register(value: Registered) -> Registered:
        PARADIGMS.register(name, PluginParadigm(value, section), version=version, module=value.__module__)
        return value

    return register


def register_tracker(name: str, *, version: str | None = None) -> Callable[[Registered], Registered]:
    """Return a decorator that registers a tracker under a name for `track.trackers` in a config.

    The class or function gets a TrackedPath, and the options of `track.options` as keyword arguments; it returns an
    object with the methods of Tracker.
    """
    return _registering(TRACKERS, name, version)


def register_callback(name: str, *, version: str | None = None) -> Callable[[Registered], Registered]:
    """Return a decorator that registers a class of callbacks under a name for `callbacks` in a config.

    The class is a subclass of Callback; it gets its options in the config as keyword arguments.
    """
    return _registering(CALLBACKS, name, version)


def register_optimizer(
    name: str,
    *,
    states: Callable[[str], tuple[Any, ...]],
    section: type[Any] | None = None,
    version: str | None = None,
) -> Callable[[Registered], Registered]:
    """Return a decorator that registers an optimizer under a name for `optimizer.kind` in a config.

    The function has no arguments and returns a subclass of EngineOptimizer. It may import torch: plans do not call it.
    states: function from engine.precision to the OptimizerStates, from which memory and disk are forecast. section:
    subclass of PluginOptimizerConfig with the optimizer's own keys.
    """

    def register(value: Registered) -> Registered:
        plugin = PluginOptimizer(value, states, section)
        OPTIMIZERS.register(name, plugin, version=version, module=value.__module__)
        return value

    return register


def _registering(registry: Registry, name: str, version: str | None) -> Callable[[Registered], Registered]:
    def register(value: Registered) -> Registered:
        registry.register(name, value, version=version)
        return value

    return register


def check_options(plugin: Plugin, options: Mapping[str, Any], *positional: object) -> None:
    """Raise ValueError for options that a plug-in does not take. positional: what lrps itself passes to it."""
    try:
        inspect.signature(plugin.value).bind(*positional, **options)
    except TypeError as error:
        raise ValueError(f"{plugin}: {error}; it takes {inspect.signature(plugin.value)}") from None


def make(plugin: Plugin, options: Mapping[str, Any], *positional: object) -> Any:
    """Return the object that a plug-in makes of its options. Raises ConfigError if its code fails."""
    with errors_of_plugin(f"{plugin.group}.{plugin.name}", plugin.source.file):
        return plugin.value(*positional, **options)
