"""Plug-ins for tests: registries that forget what a test registers, and installed distributions with entry points."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lrps.base.plugins import source
from lrps.config.extensions import CALLBACKS, DECAYS, OPTIMIZERS, PARADIGMS, TRACKERS

QUADRATIC = """
import lrps

__version__ = "1.2"

@lrps.register_decay("quadratic")
def quadratic(progress):
    return (1 - progress) ** 2
"""
"""Source of a plug-in with a decay shape."""

SEPARATE = """
import lrps
from lrps.paths.graph import Paradigm, Release, TrainingPath
from lrps.paths.schedule import warmup_stable_decay

class Separate(lrps.PluginStrategy):
    shrink: int = 1

@lrps.register_paradigm("separate", section=Separate)
def separate(compiler, strategy):
    paths, releases = [], []
    for k, increment in enumerate(compiler.increments):
        segment = compiler.whole(k)
        rates = warmup_stable_decay(0, segment.steps, warmup=compiler.warmup, lr_start=0.0,
                                    peak=compiler.peak / strategy.shrink, decay=compiler.decay(k))
        name = compiler.path_name(k)
        paths.append(TrainingPath(name, "any", None, 0, segment.steps, rates, (segment,)))
        releases.append(Release(increment.version, name, segment.steps))
    return Paradigm(compiler.name, "any", tuple(paths), tuple(releases))
"""
"""Source of a plug-in with a paradigm: every version from scratch on its own increment."""


@contextmanager
def forgotten_plugins() -> Iterator[None]:
    """Within the context, let registrations last no longer than the context, as in a process of its own."""
    with pytest.MonkeyPatch.context() as patch:
        for registry in (CALLBACKS, DECAYS, OPTIMIZERS, PARADIGMS, TRACKERS):
            patch.setattr(registry, "_plugins", dict(registry._plugins))
        patch.setattr(source, "_FILES", dict(source._FILES))
        modules = set(sys.modules)
        yield
        for name in set(sys.modules) - modules:
            if name.startswith(("lrps_plugin_", "installed_")):
                del sys.modules[name]


def install(site: Path, module: str, text: str, group: str, entry: str, version: str = "3.1") -> None:
    """Write a module and the metadata of a distribution that has one entry point (`name = module:object`) in a group.

    site: folder on the path of modules.
    """
    (site / f"{module}.py").write_text(text)
    info = site / f"{module}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{entry}\n")
