"""Paradigms of plug-ins: what they compile to is checked, since everything after it relies on a sound graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from lrps.base.errors import ConfigError
from lrps.base.plugins.registry import Plugin
from lrps.base.plugins.source import errors_of_plugin
from lrps.paths.compiler import Compiler
from lrps.paths.graph import Paradigm, TrainingPath


def compile_plugin(plugin: Plugin, compiler: Compiler) -> Paradigm:
    """Return the paradigm that a plug-in compiles its strategy to; all of its paths get the kind of the plug-in.

    Raises ConfigError with file and line if its code fails, and with every fault of what it returns.
    """
    what = f"paradigms.{compiler.name}"
    with errors_of_plugin(what, plugin.source.file):
        paradigm = plugin.value.compile(compiler, compiler.strategy)
    if not isinstance(paradigm, Paradigm):
        raise ConfigError(f"{what}: {plugin} returns {type(paradigm).__name__}, and no Paradigm")
    paths = tuple(replace(path, kind=plugin.name) for path in paradigm.paths)
    paradigm = Paradigm(compiler.name, plugin.name, paths, tuple(paradigm.releases))
    if faults := [*_faults_of_paths(compiler, paths), *_faults_of_releases(compiler, paradigm)]:
        raise ConfigError(f"{what}: {plugin} returns a paradigm that cannot be trained:\n  " + "\n  ".join(faults))
    return paradigm


def _faults_of_paths(compiler: Compiler, paths: tuple[TrainingPath, ...]) -> Iterator[str]:
    before: dict[str, TrainingPath] = {}
    sources = {each.version for each in compiler.increments} | {each.name for each in compiler.rehearsal}
    for path in paths:
        fork = path.parent
        if path.name in before:
            yield f"two paths are called {path.name}; compiler.path_name(k) gives one name for each version"
        if path.steps < 1:
            yield f"{path.name} has no step"
        if fork is not None and (fork.path not in before or not 0 < fork.step <= before[fork.path].stop):
            yield f"{path.name} forks from {fork.path} at step {fork.step}, which no path before it passes"
        for segment in path.segments:
            if segment.rows != segment.steps * compiler.batch:
                yield f"{path.name} reads {segment.rows} rows in {segment.steps} steps of {compiler.batch} rows"
        if unknown := sorted(set(path.sources) - sources):
            yield f"{path.name} reads {', '.join(unknown)}, which the config does not have"
        for step in {path.start, path.stop - 1}:
            if fault := _fault_of_rate(path, step):
                yield fault
        before[path.name] = path


def _fault_of_rate(path: TrainingPath, step: int) -> str | None:
    try:
        rate = path.schedule.lr_at(step)
    except ValueError as error:
        return f"{path.name}: {error}"
    return None if rate >= 0 else f"{path.name} has the learning rate {rate:g} at step {step}"


def _faults_of_releases(compiler: Compiler, paradigm: Paradigm) -> Iterator[str]:
    by_name = {path.name: path for path in paradigm.paths}
    released = Counter(release.version for release in paradigm.releases)
    for version in (increment.version for increment in compiler.increments):
        if (times := released.pop(version, 0)) != 1:
            yield f"it releases version {version} {times} times; a paradigm releases every version once"
    for version in released:
        yield f"it releases version {version}, which the config does not have"
    for release in paradigm.releases:
        path = by_name.get(release.path)
        if path is None or not path.start < release.step <= path.stop:
            yield f"version {release.version} is the state of {release.path} at step {release.step}, which is none"
