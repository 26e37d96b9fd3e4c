"""Comparison of an engine with the one that a state was trained by, before the state is continued."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lrps.config.deepspeed.settings import PASSED

_KEYS = {"world_size": "processes", "zero_stage": "engine.zero_stage"}
"""Fact of an engine -> its name for users."""


def changed_engine(saved: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """Return why the continuation of a state differs in the last digits from a run that never stopped; None if not.

    saved: identity of the state's checkpoint. now: facts of the engine that continues it.
    """
    pairs = [(name, saved[key], now[key]) for key, name in _KEYS.items() if key in saved]
    old, new = saved.get(PASSED, {}), now.get(PASSED, {})
    pairs += [(f"engine.deepspeed: {key}", old.get(key), new.get(key)) for key in sorted(old.keys() | new.keys())]
    changes = [f"{name} {_words(before)}, now {_words(after)}" for name, before, after in pairs if before != after]
    if not changes:
        return None
    return (
        f"continues a state that was trained with {'; '.join(changes)}. The state is read exactly, but the last digits "
        "of later steps differ from those of a run without this change"
    )


def _words(value: Any) -> str:
    return "not given" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
