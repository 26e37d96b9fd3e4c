"""Registries of the choices that a config names: built-in ones, and plug-ins from outside of lrps.

A plug-in registers itself when its file is executed, or an installed distribution has an entry point for it in the
group `lrps.NAME`. Entry points are imported only when a config names one.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import lru_cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import Any

from lrps.base.errors import ConfigError
from lrps.base.plugins.source import (
    Source,
    errors_of_plugin,
    registering,
    source_being_executed,
    source_of_module,
    version_in_caller,
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True)
class Plugin:
    """A choice that was added from outside of lrps."""

    group: str
    """Name of its registry, such as `decays`."""
    name: str
    value: Any
    """Function or class that was registered."""
    source: Source

    def __str__(self) -> str:
        """Return the plug-in as a message names it."""
        return f"{self.group}.{self.name} ({self.source.file})"


class Registry:
    """The choices of one kind by name. A name never changes its meaning within a process."""

    def __init__(
        self, group: str, builtin: Sequence[str] = (), check: Callable[[str, Any], None] = lambda _name, _value: None
    ) -> None:
        """group: name of the group of entry points without `lrps.`. builtin: names that lrps itself defines.

        check: raises ConfigError for a name and a value that cannot be a choice of this kind.
        """
        self.group, self.builtin, self._check = group, tuple(builtin), check
        self._plugins: dict[str, Plugin] = {}

    def register(self, name: str, value: Any, *, version: str | None = None, module: str | None = None) -> None:
        """Add a choice. version: by default `__version__` of the module two frames up. module: that of the value.

        Raises ConfigError for a value or a name that cannot be one, and for a name that has another meaning already.
        """
        source = source_being_executed()
        if source is None:
            source = source_of_module(str(module or getattr(value, "__module__", "__main__")))
        source = replace(source, version=version or source.version or version_in_caller(2))
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{self.group}: {name!r} is no name for a plug-in: letters, digits, '-' and '_'")
        if name in self.builtin:
            raise ConfigError(f"{self.group}: '{name}' is built into lrps; register {source.file} under another name")
        self._check(name, value)
        there = self._plugins.get(name)
        if there is not None and there.source.sha256 != source.sha256:
            raise ConfigError(
                f"{self.group}: {source.file} registers '{name}', which is registered already by {there.source.file} "
                f"(SHA-256 {there.source.sha256}, now {source.sha256}); rename one of them, or start Python again if "
                "it is the same plug-in with changed code"
            )
        self._plugins[name] = Plugin(self.group, name, value, source)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all choices, built-in ones first. Nothing is imported."""
        offered = sorted(_entry_points(self.group).names)
        return tuple(dict.fromkeys((*self.builtin, *self._plugins, *offered)))

    def is_known(self, name: str) -> bool:
        """Return whether a name is that of a choice. A plug-in that an entry point offers is imported."""
        return name in self.builtin or self.find(name) is not None

    def check(self, name: str) -> str:
        """Return a name of a choice; import the plug-in if an entry point offers it.

        Raises ValueError that lists what there is, with the nearest name. Raises ConfigError for a plug-in that cannot
        be imported.
        """
        if not self.is_known(name):
            near = get_close_matches(name, self.names, 1, 0.5)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise ValueError(f"must be one of {', '.join(self.names) or 'none: no plug-in is registered'}{hint}")
        return name

    def find(self, name: str) -> Plugin | None:
        """Return a plug-in by its name; None for a built-in choice and for an unknown name.

        Raises ConfigError for an entry point that cannot be imported, or that two distributions offer.
        """
        if name in self.builtin:
            return None
        if name not in self._plugins:
            found = tuple(_entry_points(self.group).select(name=name))
            if len({each.value for each in found}) > 1:
                origins = " and ".join(sorted(f"{_distribution(each)} ({each.value})" for each in found))
                raise ConfigError(f"{self.group}: {origins} both have an entry point '{name}'; remove one of them")
            if found:
                self._import(found[0])
        return self._plugins.get(name)

    def get(self, name: str) -> Plugin:
        """Return a plug-in by its name. Raises ConfigError as `check` and `find` do, and for a built-in name."""
        try:
            plugin = self.find(self.check(name))
        except ValueError as error:
            raise ConfigError(f"{self.group}: {name}: {error}") from None
        assert plugin is not None, f"{name} is built in"
        return plugin

    def _import(self, entry: EntryPoint) -> None:
        """Import an entry point. Its module may register the choice itself; else the value is the choice."""
        what = f"{self.group}.{entry.name} of {_distribution(entry)} (entry point {entry.value})"
        version = None if entry.dist is None else entry.dist.version
        with errors_of_plugin(what):
            value = entry.load()
            source = source_of_module(entry.module, version=version)
            registered = self._plugins.get(entry.name)
            if registered is None:
                with registering(source):
                    self.register(entry.name, value)
            else:  # By the module, while it was imported.
                self._plugins[entry.name] = replace(registered, source=source)

    def is_found_by_workers(self, name: str) -> bool:
        """Return whether other processes with the same config find a choice, not only this one."""
        plugin = self.find(name)
        if plugin is None or plugin.source.is_named_in_config:
            return True
        return bool(tuple(_entry_points(self.group).select(name=name)))


def _entry_points(group: str) -> EntryPoints:
    """Return the entry points of a group `lrps.GROUP`."""
    folders = tuple((folder, os.stat(folder).st_mtime_ns) for folder in sys.path if os.path.isdir(folder))
    found: EntryPoints = _installed(folders).select(group=f"lrps.{group}")
    return found


@lru_cache(maxsize=1)
def _installed(_folders: tuple[tuple[str, int], ...]) -> Any:
    """Return the entry points of all installed distributions: 20 to 80 ms of reading their metadata.

    _folders: the path of modules, with the time at which each folder was last changed, as an installation changes it.
    """
    return entry_points()  # Of a type of its own in Python 3.11, with the same `select`.


def _distribution(entry: EntryPoint) -> str:
    return "an unknown distribution" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"
