"""Comparison of an engine with the one that a state was trained by, before the state is continued."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lrps.config.deepspeed.settings import PASSED, SUMMATION
from lrps.config.models import SEQUENCE_PARALLEL
from lrps.paths.buckets import earlier_sums

_KEYS = {"world_size": "processes", "zero_stage": "engine.zero_stage"}
"""Fact of an engine -> its name for users."""


def changed_engine(saved: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """Return which facts of the engine have changed, for which later steps can have other last digits; None if none.

    saved: identity of the state's checkpoint. now: facts of the engine that continues it. Compared are processes, ZeRO
    stage, sequence parallelism, settings of DeepSpeed and versions of libraries, as far as the checkpoint records them.
    Other things that change last digits are not recorded: the size of micro-batches, `engine.attention`,
    `engine.compile`, `engine.cross_entropy` and the kind of device.
    """
    pairs = [(name, saved[key], now[key]) for key, name in _KEYS.items() if key in saved]
    if "world_size" in saved:
        pairs.append(("engine.sequence_parallel", saved.get(SEQUENCE_PARALLEL, 1), now.get(SEQUENCE_PARALLEL, 1)))
    pairs += _passed(saved, now) if "zero_stage" in saved else ()
    old, new = saved.get("versions", {}), now.get("versions", {})
    pairs += [(library, old[library], new[library]) for library in sorted(old.keys() & new.keys())]
    changes = [f"{name} {_words(before)}, now {_words(after)}" for name, before, after in pairs if before != after]
    if not changes:
        return None
    return (
        f"continues a state that was trained with {'; '.join(changes)}. The state is read exactly, but the last digits "
        "of later steps can differ from those of a run without this change"
    )


def _passed(saved: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield (name, before, after) of the settings of DeepSpeed that either side records.

    Another number of processes sums in another order anyway: then settings of sums are not compared, because below
    three processes no default is recorded.
    """
    old, new = ({**earlier_sums(each["zero_stage"]), **each.get(PASSED, {})} for each in (saved, now))
    skipped = SUMMATION if saved.get("world_size") != now["world_size"] else set()
    for key in sorted((saved.get(PASSED, {}).keys() | now.get(PASSED, {}).keys()) - skipped):
        yield f"engine.deepspeed: {key}", old.get(key), new.get(key)


def _words(value: Any) -> str:
    return "not given" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
