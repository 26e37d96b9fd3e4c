"""Plug-ins that decide how a path is trained, as its path.json records them: by version and SHA-256 of the source.

A path that was begun with other code of a plug-in is never continued without a word.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lrps.base.plugins.registry import Plugin
from lrps.base.plugins.source import code_words
from lrps.config.extensions import CALLBACKS, DECAYS, OPTIMIZERS, PARADIGMS, TRACKERS
from lrps.config.models import Config
from lrps.paths.graph import TrainingPath
from lrps.store.difference import IdentityDifference, value_differences

PLUGINS = "plugins"
"""Key of a path.json, and of the start record of an attempt, with the plug-ins: group -> name -> version, sha256."""
CHANGES_TRAINING = "changes_training"
"""Attribute of a class of callbacks that change what is trained."""


def path_plugins(path: TrainingPath, config: Config) -> dict[str, Any]:
    """Return what the identity of a path says about its plug-ins; empty for a path that has none."""
    shapes = sorted({piece.shape for piece in path.schedule.pieces})
    named = {
        DECAYS.group: [plugin for shape in shapes if (plugin := DECAYS.find(shape)) is not None],
        PARADIGMS.group: [plugin for plugin in [PARADIGMS.find(path.kind)] if plugin is not None],
        OPTIMIZERS.group: [plugin for plugin in [OPTIMIZERS.find(_optimizer(config))] if plugin is not None],
    }
    found = {group: {each.name: each.source.to_json() for each in plugins} for group, plugins in named.items()}
    found[CALLBACKS.group] = {
        plugin.name: {**plugin.source.to_json(), "options": config.callbacks[plugin.name] or {}}
        for plugin in map(CALLBACKS.get, config.callbacks)
        if changes_training(plugin)
    }
    return {PLUGINS: used} if (used := {group: each for group, each in found.items() if each}) else {}


def used_plugins(path: TrainingPath, config: Config) -> dict[str, Any]:
    """Return what the start record of an attempt says about its plug-ins: also of those that change no training."""
    others = {
        TRACKERS.group: [plugin for name in config.track.trackers if (plugin := TRACKERS.find(name)) is not None],
        CALLBACKS.group: list(map(CALLBACKS.get, config.callbacks)),
    }
    found = dict(path_plugins(path, config).get(PLUGINS, {}))
    for group, plugins in others.items():
        found[group] = {each.name: each.source.to_json() for each in plugins} | found.get(group, {})
    return {PLUGINS: used} if (used := {group: each for group, each in found.items() if each}) else {}


def changes_training(callback: Plugin) -> bool:
    """Return whether a callback changes what is trained."""
    return bool(getattr(callback.value, CHANGES_TRAINING, False))


def _optimizer(config: Config) -> str:
    return str(getattr(config.optimizer, "kind", OPTIMIZERS.builtin[0]))


def plugin_differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[IdentityDifference]:
    """Yield the differences between the plug-ins of two identities. there: the one that the run was begun with.

    A decay, a paradigm or an optimizer that only one of them has shows in what the path trains, and is no difference
    here; a callback is one.
    """
    old, new = (each.get(PLUGINS, {}) for each in (there, here))
    for group in sorted(old.keys() | new.keys()):
        begun, wanted = old.get(group, {}), new.get(group, {})
        compared = begun.keys() | wanted.keys() if group == CALLBACKS.group else begun.keys() & wanted.keys()
        for name in sorted(compared):
            yield from _differences(group, name, begun.get(name), wanted.get(name))


def _differences(
    group: str, name: str, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None
) -> Iterator[IdentityDifference]:
    if old is None or new is None:
        begun, wanted = ("no such callback" if each is None else "this callback" for each in (old, new))
        yield IdentityDifference(((group, name),), begun, wanted)
        return
    if old["sha256"] != new["sha256"]:
        begun, wanted = (code_words(each["version"], each["sha256"]) for each in (old, new))
        yield IdentityDifference(
            (),
            begun,
            wanted,
            "put the file of the plug-in back as it was; or register the changed code under a new name, give the plan "
            "another `name`, and train anew",
            f"the plug-in {group}.{name}",
        )
    if old.get("options") != new.get("options"):
        yield from value_differences((group, name), old.get("options"), new.get("options"))
