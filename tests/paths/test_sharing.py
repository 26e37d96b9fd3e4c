"""Names of equal paths when paradigms are added, removed and reordered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lrps.base.errors import ConfigError
from lrps.config.models import Config
from lrps.paths.graph import Graph
from lrps.paths.increments import Increment
from lrps.paths.paradigms.compile import compile_graph

MakeConfig = Callable[..., Config]
ALL: dict[str, Any] = {"path-switching": {}, "ptfs": {}, "cpt": {}}


def graph(
    make_config: MakeConfig, paradigms: dict[str, Any], versions: int = 3, existing: Graph | None = None
) -> Graph:
    increments = [Increment(f"v{k}", 200, 100) for k in range(1, versions + 1)]
    return compile_graph(make_config(paradigms=paradigms), increments, existing.by_name if existing else None)


def names(made: Graph) -> dict[str, list[str]]:
    return {paradigm.name: [path.name for path in paradigm.paths] for paradigm in made.paradigms}


@pytest.mark.parametrize(
    "order", [["cpt"], ["cpt", "ptfs"], ["ptfs", "cpt"], ["cpt", "path-switching", "ptfs"]], ids=str
)
def test_names_on_disk_survive_other_paradigms(make_config: MakeConfig, order: list[str]) -> None:
    finished = graph(make_config, ALL)
    again = graph(make_config, {name: ALL[name] for name in order}, existing=finished)
    for path in again.paths:
        assert path == finished.by_name[path.name], "the same path under the same name, with the same parent"


def test_a_paradigm_that_is_added_finds_what_another_one_trained(make_config: MakeConfig) -> None:
    cpt_alone = graph(make_config, {"cpt": {}})
    assert names(cpt_alone)["cpt"] == ["cpt-v1", "cpt-v2", "cpt-v3"]
    both = graph(make_config, {"ptfs": {}, "cpt": {}}, existing=cpt_alone)
    assert names(both) == {"ptfs": ["cpt-v1", "ptfs-v2", "ptfs-v3"], "cpt": ["cpt-v1", "cpt-v2", "cpt-v3"]}


def test_a_grown_plan_keeps_all_names(make_config: MakeConfig) -> None:
    small, large = graph(make_config, ALL, versions=2), graph(make_config, ALL, versions=4)
    grown = graph(make_config, ALL, versions=4, existing=small)
    assert grown == large
    shrunk = graph(make_config, ALL, versions=2, existing=large)
    assert shrunk == small


@pytest.mark.parametrize("versions", [1, 2, 3])
def test_only_main_paths_are_taken_for_main_paths(make_config: MakeConfig, versions: int) -> None:
    """A CPT path at the peak rate equals a part of a main path, but must not be replaced by it."""
    paradigms = {"path-switching": {"release_first": False}, "cpt": {"restart": "constant"}}
    assert names(graph(make_config, paradigms, versions))["cpt"] == [f"cpt-v{k}" for k in range(1, versions + 1)]


@pytest.mark.parametrize(
    ("paradigms", "versions"),
    [
        ({"path-switching": {}, "branch": {"kind": "ptfs"}}, ["v1", "v2"]),
        ({"a": {"kind": "ptfs"}, "a-b": {"kind": "ptfs", "decay": "linear"}}, ["b-c", "c"]),
        ({"x": {"kind": "path-switching"}}, ["v1", "main"]),
        ({"mine": {"kind": "ptfs"}, "MINE": {"kind": "ptfs", "decay": "linear"}}, ["v1", "v2"]),
    ],
    ids=["name of a kind", "a dash", "a version called main", "case"],
)
def test_names_that_collide_are_refused(
    make_config: MakeConfig, paradigms: dict[str, Any], versions: list[str]
) -> None:
    data = {"root": "x", "sequence_length": 8, "versions": [{"name": v, "tokens": 1600} for v in versions]}
    with pytest.raises(ConfigError, match="rename"):
        compile_graph(make_config(data=data, paradigms=paradigms), [Increment(v, 200, 100) for v in versions])
