"""lrps: pretraining of LLM version updates by learning-rate path switching.

Importing this package imports nothing else: each public name is imported when it is first used (PEP 562), and each verb
of the command line loads what it needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lrps.config.extensions import (
        register_callback,
        register_decay,
        register_optimizer,
        register_paradigm,
        register_tracker,
    )
    from lrps.config.strategies import PluginStrategy
    from lrps.train.callbacks.callback import Callback, Stop

__version__ = "0.1.0"

_HOMES = {
    "lrps.config.extensions": (
        "register_callback",
        "register_decay",
        "register_optimizer",
        "register_paradigm",
        "register_tracker",
    ),
    "lrps.config.strategies": ("PluginStrategy",),
    "lrps.train.callbacks.callback": ("Callback", "Stop"),
}
"""Mapping from module to the public names that it defines."""
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Callback",
    "PluginStrategy",
    "Stop",
    "register_callback",
    "register_decay",
    "register_optimizer",
    "register_paradigm",
    "register_tracker",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if (module := _HOME_OF.get(name)) is None:
        raise AttributeError(f"module 'lrps' has no attribute {name!r}; its public names are in lrps.__all__")
    value = globals()[name] = getattr(import_module(module), name)
    return value


def __dir__() -> list[str]:
    """Return the public names, so that they are completed before they are imported."""
    return sorted({*globals(), *__all__})
