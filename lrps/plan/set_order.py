"""The order of rehearsal sets and paths: a set waits for the releases whose models write it, and their paths for sets.

Must not import torch.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from itertools import pairwise

from lrps.base.errors import ConfigError
from lrps.config.models import Config
from lrps.config.strategies import Mixing, PathSwitching, Strategy
from lrps.config.versions import Rehearsal
from lrps.paths.graph import Graph, Release


def default_latest(config: Config, rehearsal: Rehearsal) -> str:
    """Return the release that refines a set which names none, as PARADIGM/VERSION: of the version before `since`.

    The paradigm is the only one whose mixes name the set; otherwise the first path-switching one, or the first.
    """
    versions = [version.name for version in config.data.versions]
    before = versions[versions.index(rehearsal.since) - 1]
    readers = [name for name, strategy in config.paradigms.items() if rehearsal.name in _named(strategy)]
    switching = [name for name, strategy in config.paradigms.items() if isinstance(strategy, PathSwitching)]
    return f"{readers[0] if len(readers) == 1 else [*switching, *config.paradigms][0]}/{before}"


def _named(strategy: Strategy) -> set[str]:
    """Return the sets and versions that the mixes of a strategy name."""
    if not isinstance(strategy, Mixing):
        return set()
    main = (strategy.main_mix,) if isinstance(strategy, PathSwitching) else ()
    return {name for mix in (strategy.mix, *strategy.mix_per_version.values(), *main) for name in mix.names}


def writers(config: Config, graph: Graph) -> dict[str, tuple[Release, ...]]:
    """Return set -> releases of the plan whose models write it, of the sets with a `synthesis`.

    Models from directories and of servers are left out.
    """
    known = {(each.name, one.version): one for each in graph.paradigms for one in each.releases}
    return {
        each.name: tuple(known[found] for found in dict.fromkeys(_names(config, each)) if found in known)
        for each in config.data.rehearsal
        if each.synthesis is not None
    }


def _names(config: Config, rehearsal: Rehearsal) -> Iterator[tuple[str, str]]:
    """Yield (paradigm, version) of the models of a set, as its config names them."""
    synthesis = rehearsal.synthesis
    assert synthesis is not None
    latest = default_latest(config, rehearsal) if synthesis.latest is None else synthesis.latest
    base = synthesis.base
    if base is None and synthesis.generator == "hf" and config.model.checkpoint is None:
        base = latest if isinstance(latest, str) else None
    for name in (latest if synthesis.refine else None, base):
        if isinstance(name, str) and "/" in name:
            paradigm, _, version = name.rpartition("/")
            yield paradigm, version


def check_set_order(config: Config, graph: Graph, written: Container[str]) -> None:
    """Raise ConfigError for sets that wait for each other, or for themselves: no order of training could write them.

    written: names of sets whose shards exist, which wait for nothing.
    """
    needs = {
        name: {source for release in releases for source in graph.sources_until(release)}
        for name, releases in writers(config, graph).items()
        if name not in written
    }
    if circle := _circle(needs):
        steps = [f"{name} is written by a model that is trained on {after}" for name, after in pairwise(circle)]
        if len(steps) == 1:
            steps = [f"{circle[0]} is written by a model that is itself trained on {circle[0]}"]
        raise ConfigError(
            f"data.rehearsal: {', and '.join(steps)}; let an earlier version write it (`synthesis.latest`, "
            "`synthesis.base`), or raise its `since`"
        )


def _circle(needs: Mapping[str, set[str]]) -> list[str]:
    """Return names that need each other in turn, the first one also at the end; empty if there are none."""
    clear: set[str] = set()  # Names that no circle can be reached from: each is searched once.

    def search(name: str, trail: list[str]) -> list[str]:
        if name in trail:
            return [*trail[trail.index(name) :], name]
        if name in clear:
            return []
        found = (search(other, [*trail, name]) for other in sorted(needs[name] & needs.keys()))
        if not (circle := next((circle for circle in found if circle), [])):
            clear.add(name)
        return circle

    return next((circle for name in needs if (circle := search(name, []))), [])
