"""lrps: pretraining of LLM version updates by learning-rate path switching.

Importing this package imports nothing else: each public name is imported when it is first used (PEP 562), and each verb
of the command line loads what it needs. docs/api.md describes the names.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lrps.api.comparing import (
        audit_run as audit_run,
    )
    from lrps.api.comparing import (
        compare as compare,
    )
    from lrps.api.comparing import (
        export_model as export_model,
    )
    from lrps.api.comparing import (
        forecast_version as forecast_version,
    )
    from lrps.api.planning import (
        build_data as build_data,
    )
    from lrps.api.planning import (
        compile_plan as compile_plan,
    )
    from lrps.api.planning import (
        status as status,
    )
    from lrps.api.running import (
        run as run,
    )
    from lrps.api.sources import (
        load_config as load_config,
    )
    from lrps.base.errors import (
        BudgetError as BudgetError,
    )
    from lrps.base.errors import (
        CallbackError as CallbackError,
    )
    from lrps.base.errors import (
        CallbackStopError as CallbackStopError,
    )
    from lrps.base.errors import (
        CheckpointError as CheckpointError,
    )
    from lrps.base.errors import (
        ConfigError as ConfigError,
    )
    from lrps.base.errors import (
        DataError as DataError,
    )
    from lrps.base.errors import (
        DecisionNeededError as DecisionNeededError,
    )
    from lrps.base.errors import (
        EvaluationError as EvaluationError,
    )
    from lrps.base.errors import (
        LedgerError as LedgerError,
    )
    from lrps.base.errors import (
        LineageError as LineageError,
    )
    from lrps.base.errors import (
        LrpsError as LrpsError,
    )
    from lrps.base.errors import (
        RepeatedFailureError as RepeatedFailureError,
    )
    from lrps.base.errors import (
        SpikeError as SpikeError,
    )
    from lrps.base.errors import (
        StoppedError as StoppedError,
    )
    from lrps.base.errors import (
        TrainingError as TrainingError,
    )
    from lrps.config.extensions import (
        register_callback as register_callback,
    )
    from lrps.config.extensions import (
        register_decay as register_decay,
    )
    from lrps.config.extensions import (
        register_optimizer as register_optimizer,
    )
    from lrps.config.extensions import (
        register_paradigm as register_paradigm,
    )
    from lrps.config.extensions import (
        register_tracker as register_tracker,
    )
    from lrps.config.models import (
        Config as Config,
    )
    from lrps.config.strategies import (
        PluginStrategy as PluginStrategy,
    )
    from lrps.forecast import (
        Branch as Branch,
    )
    from lrps.forecast import (
        ForecastRefused as ForecastRefused,
    )
    from lrps.forecast import (
        forecast_branch as forecast_branch,
    )
    from lrps.paths.compiler import (
        Compiler as Compiler,
    )
    from lrps.track.tracker import (
        TrackedPath as TrackedPath,
    )
    from lrps.train.callbacks.callback import (
        Callback as Callback,
    )
    from lrps.train.callbacks.callback import (
        Stop as Stop,
    )

__version__ = "0.1.0"

_HOMES = {
    "lrps.api.comparing": (
        "audit_run",
        "compare",
        "export_model",
        "forecast_version",
    ),
    "lrps.api.planning": (
        "build_data",
        "compile_plan",
        "status",
    ),
    "lrps.api.running": ("run",),
    "lrps.api.sources": ("load_config",),
    "lrps.base.errors": (
        "BudgetError",
        "CallbackError",
        "CallbackStopError",
        "CheckpointError",
        "ConfigError",
        "DataError",
        "DecisionNeededError",
        "EvaluationError",
        "LedgerError",
        "LineageError",
        "LrpsError",
        "RepeatedFailureError",
        "SpikeError",
        "StoppedError",
        "TrainingError",
    ),
    "lrps.config.extensions": (
        "register_callback",
        "register_decay",
        "register_optimizer",
        "register_paradigm",
        "register_tracker",
    ),
    "lrps.config.models": ("Config",),
    "lrps.config.strategies": ("PluginStrategy",),
    "lrps.forecast": (
        "Branch",
        "ForecastRefused",
        "forecast_branch",
    ),
    "lrps.paths.compiler": ("Compiler",),
    "lrps.track.tracker": ("TrackedPath",),
    "lrps.train.callbacks.callback": (
        "Callback",
        "Stop",
    ),
}
"""Mapping from module to the public names that it defines."""
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Branch",
    "BudgetError",
    "Callback",
    "CallbackError",
    "CallbackStopError",
    "CheckpointError",
    "Compiler",
    "Config",
    "ConfigError",
    "DataError",
    "DecisionNeededError",
    "EvaluationError",
    "ForecastRefused",
    "LedgerError",
    "LineageError",
    "LrpsError",
    "PluginStrategy",
    "RepeatedFailureError",
    "SpikeError",
    "Stop",
    "StoppedError",
    "TrackedPath",
    "TrainingError",
    "audit_run",
    "build_data",
    "compare",
    "compile_plan",
    "export_model",
    "forecast_branch",
    "forecast_version",
    "load_config",
    "register_callback",
    "register_decay",
    "register_optimizer",
    "register_paradigm",
    "register_tracker",
    "run",
    "status",
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
