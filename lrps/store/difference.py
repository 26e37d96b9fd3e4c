"""Differences of two identities in words: the config key of each, its value in the run, and its value in the config."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from lrps.config.optimizing import DEFAULT_KIND

Key = tuple[str, ...]
"""Key of a config as its parts: `("schedule", "peak_lr")`. An entry of a list is addressed by its name."""

TRAINING_KEYS: Mapping[str, Key] = {
    "seed": ("seed",),
    "architecture": ("model", "architecture"),
    "optimizer": ("optimizer",),
    "batch_sequences": ("batch", "sequences"),
    "sequence_length": ("data", "sequence_length"),
    "order": ("data", "order"),
    "order_seed": ("data", "order_seed"),
    "row_order": (),
    "precision": ("engine", "precision"),
    "tokenizer_sha256": ("data", "tokenizer"),
    "initial_weights": ("model", "checkpoint"),
    "attention_across_documents": ("data", "attention_across_documents"),
    "initial_state": ("model", "initial_state"),
    "guard": ("guard",),
    "padding": (),
    "initialisation": (),
    "gradient_sum": (),
}
"""Config key of every key of `training` in an identity; empty for those that the version of lrps decides."""
_PROGRAM = {
    "row_order": "the order of sequences",
    "padding": "the embedding of the padding token",
    "initialisation": "the drawing of new weights",
    "gradient_sum": "the sum of gradients",
}
_ONE_OPTIMIZER = (
    "a plan has one optimizer: give the plan another `name`, and a saved state as `model.initial_state` (or its export "
    "as `model.checkpoint`), whose weights it then starts from with a fresh state of the new optimizer"
)
_UNLESS_SAID = {"attention_across_documents": True, "initial_state": False}
"""Values of keys that an identity leaves out, because they are the defaults."""
_MAY_BE_UNKNOWN = ("tokenizer_sha256", "initial_weights")
"""Keys that may be None on one side: a run may be copied without its data, and only training reads the weights."""
_LONGEST = 80


@dataclass(frozen=True)
class IdentityDifference:
    """One difference between the identity of a path that was begun and the one that a config gives it."""

    keys: tuple[Key, ...]
    """Config keys that can be its cause, the most likely one first; none if no key is."""
    begun: str
    """Value that the run was begun with, in words."""
    wanted: str
    """Value that follows from the config, in words."""
    note: str = ""
    """How to fix it, if that is not to change the key back."""
    subject: str = ""
    """Name of what differs, where no config key is its cause."""

    @property
    def what(self) -> str:
        """Name of what differs: the config key, if there is one."""
        return f"`{'.'.join(self.keys[0])}`" if self.keys else self.subject

    def __str__(self) -> str:
        """Return the message for the user whose config does not fit the run."""
        note = f"; {self.note}" if self.note else ""
        return f"{self.what}: the run was begun with {self.begun}, the config says {self.wanted}{note}"

    def between(self, there: str, here: str) -> str:
        """Return the message about two copies of a run. there, here: names of the begun and of the other copy."""
        return f"{self.what}: {self.begun} at {there}, {self.wanted} at {here}"


def value_words(value: Any) -> str:
    """Return a JSON value in words of bounded length."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def training_differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[IdentityDifference]:
    """Yield the differences between `training` of two identities. there: the one that the run was begun with."""
    for name in sorted(there.keys() | here.keys()):
        old, new = (each.get(name, _unless_said(each, name)) for each in (there, here))
        if old == new or (name in _MAY_BE_UNKNOWN and None in (old, new)):
            continue
        if name == "gradient_sum" and there.get("precision") != here.get("precision"):
            continue  # Only bf16 has several ways to sum; the precision is the difference.
        key = TRAINING_KEYS.get(name)
        if name == "architecture" and None in (old, new):
            before, after = ("a directory" if value is None else "none, but `architecture`" for value in (old, new))
            yield IdentityDifference((("model", "checkpoint"),), before, after)
        elif name == "initial_state":
            yield IdentityDifference(
                (TRAINING_KEYS[name],), *("a complete state" if each else "none" for each in (old, new))
            )
        elif name == "optimizer" and old.get("kind") != new.get("kind"):
            before, after = (str(each.get("kind", DEFAULT_KIND)) for each in (old, new))
            yield IdentityDifference((("optimizer", "kind"),), before, after, _ONE_OPTIMIZER)
        elif name in _MAY_BE_UNKNOWN:
            yield _files(name, str(old), str(new), bool(here.get("initial_state")))
        elif key:
            yield from value_differences(key, old, new)
        else:
            subject = _PROGRAM.get(name, f"{name}, which this version of lrps does not know")
            words = value_words(old), f"nothing of it, and this version of lrps has {value_words(new)}"
            yield IdentityDifference((), *words, "use the version of lrps that began the run", subject)


def _unless_said(training: Mapping[str, Any], name: str) -> Any:
    """Return the value of a key that `training` leaves out because it is the default."""
    return training.get("seed") if name == "order_seed" else _UNLESS_SAID.get(name)


def _files(name: str, old: str, new: str, is_state: bool) -> IdentityDifference:
    """Return the difference of a tokenizer or of initial weights, which are known by their hashes."""
    if name == "tokenizer_sha256":
        keys, note = (TRAINING_KEYS[name],), "put back the tokenizer that the run's shards were built with"
        return IdentityDifference(keys, f"a tokenizer {_hash(old)}", f"another one, {_hash(new)}", note)
    key = ("model", "initial_state") if is_state else TRAINING_KEYS[name]
    return IdentityDifference(
        (key,), f"weights {_hash(old)}", f"other ones, {_hash(new)}", "put back the files that were there"
    )


def _hash(digest: str) -> str:
    return f"with SHA-256 {digest[:12]}"


def value_differences(key: Key, old: Any, new: Any) -> Iterator[IdentityDifference]:
    """Yield the differences of two JSON values, one for each key of nested mappings."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name):
                yield from value_differences((*key, name), old.get(name), new.get(name))
        return
    words = value_words(old), value_words(new)
    if isinstance(old, list) and isinstance(new, list) and max(map(len, words)) == _LONGEST:
        # Long lists often begin alike: only the first elements that differ are shown.
        pairs = enumerate(zip_longest(old, new, fillvalue="nothing"), 1)
        number, pair = next((number, pair) for number, pair in pairs if pair[0] != pair[1])
        words = (f"{value_words(pair[0])} in place {number}", value_words(pair[1]))
    yield IdentityDifference((key,), *words)


def source_differences(key: Key, there: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[IdentityDifference]:
    """Yield the differences between two entries of a source. key: that of the version or rehearsal set."""
    old, new = ({part["name"]: part for part in each.get("parts", ())} for each in (there, here))
    mixture = (*key, "mixture")
    if old.keys() != new.keys():
        yield IdentityDifference((mixture,), _names(old), _names(new))
    elif old:
        for name in sorted(old):
            part = (*mixture, name.removeprefix(f"{key[-1]}."))
            yield from _shards(part, old[name], new[name])
            counts = [(each["count"], each["rows"]) for each in (old[name], new[name])]
            if counts[0] != counts[1]:
                words = (f"{count} sequences, of {rows} that its shards give" for count, rows in counts)
                yield IdentityDifference(((*part, "weight"), (*part, "epochs"), (*key, "tokens"), mixture), *words)
    else:
        yield from _shards(key, there, here)
    losses = [each.get("loss", "all") for each in (there, here)]
    if losses[0] != losses[1]:
        yield IdentityDifference(
            ((*key, "loss"),), *(f"the loss of {each.get('loss', 'all')}" for each in (there, here))
        )
    if there["rows"] != here["rows"]:
        words = (f"{each['rows']} sequences in a pass" for each in (there, here))
        yield IdentityDifference(((*key, "tokens"), mixture), *words)


def _names(parts: Iterable[str]) -> str:
    return f"a mixture of {', '.join(sorted(parts))}" if parts else "no mixture"


def _shards(key: Key, there: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[IdentityDifference]:
    if there["manifest_sha256"] != here["manifest_sha256"]:
        words = (_hash(each["manifest_sha256"]) for each in (there, here))
        begun, wanted = (f"shards whose manifest is one {each}" for each in words)
        note = "a version never changes: put its shards back, or give the other text a version of its own"
        yield IdentityDifference((key,), begun, wanted, note)


def by_config_values(
    differences: Sequence[IdentityDifference], recorded: Mapping[str, Any], wanted: Mapping[str, Any]
) -> list[IdentityDifference]:
    """Return the differences with the values of the config keys that caused them, as far as both configs differ there.

    recorded, wanted: the config that the run recorded, and the one that does not fit it, as JSON values. A difference
    that no changed key explains is returned unchanged. Each key is named once.
    """
    found: dict[str, IdentityDifference] = {}
    for difference in differences:
        values = ((key, _value(recorded, key), _value(wanted, key)) for key in difference.keys)
        changed = [
            IdentityDifference((key,), value_words(old), value_words(new), difference.note)
            for key, old, new in values
            if old != new and _UNKNOWN not in (old, new)
        ]
        found |= {each.what: each for each in changed or [difference] if each.what not in found}
    return list(found.values())


_UNKNOWN = object()
"""Value of a key that a config does not have, as that of a version of lrps before the key existed."""


def _value(values: Any, key: Key) -> Any:
    """Return the value of a key: `unset` for a version without a value of its own, _UNKNOWN for an unknown key.

    Lists of sections are _UNKNOWN as a whole: what they differ in is found from the paths.
    """
    for name in key:
        if isinstance(values, list):
            values = next((each for each in values if isinstance(each, dict) and each.get("name") == name), _UNKNOWN)
        else:
            values = values.get(name, _UNKNOWN) if isinstance(values, dict) else _UNKNOWN
    if isinstance(values, list) and any(isinstance(each, dict) for each in values):
        return _UNKNOWN
    return "unset" if values is _UNKNOWN and len(key) > 1 and key[-2].endswith("_per_version") else values
