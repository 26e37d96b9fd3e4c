"""Amended graphs: an amendment moves no fork and no row, and a branch follows the rate of its parent at the fork."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from lrps.paths.amended import amended
from lrps.paths.amendments import Amendment, Amendments
from lrps.paths.graph import Graph, TrainingPath
from lrps.paths.path_digest import PathDigest, lineage_digest
from lrps.paths.sharing import share
from support.compiled_paths import compiled

GRAPH = Graph((compiled([50, 50, 50]), compiled([50, 50, 50], kind="cpt")))
"""Main to 120 with branches from 20, 70 and 120; and CPT."""
NONE: Callable[[str], bool] = lambda _: False  # noqa: E731
ALL: Callable[[str], bool] = lambda _: True  # noqa: E731


def stored(**amendments: Amendments) -> dict[str, TrainingPath]:
    return {name: replace(path, amendments=amendments.get(name, ())) for name, path in GRAPH.by_name.items()}


def digests(graph: Graph, step: int | None = None) -> dict[str, PathDigest]:
    """Return the digest of every path at its end, or at `step` of its lineage where it has that step."""
    return {
        path.name: lineage_digest(graph.lineage(path), path.stop if step is None else step)
        for path in graph.paths
        if step is None or path.start <= step <= path.stop
    }


def test_without_an_amendment_the_graph_is_the_same_object() -> None:
    assert amended(GRAPH, stored(), ALL) is GRAPH


def test_a_branch_is_continuous_with_its_amended_parent() -> None:
    main = (Amendment(30, peak_lr=0.25, for_steps=60), Amendment(100, skip=5))
    graph = amended(GRAPH, stored(main=main), NONE)
    rates = {fork: graph.by_name[f"branch-v{k}"].lr_start for k, fork in ((1, 20), (2, 70), (3, 120))}
    assert rates == {20: 1.0, 70: 0.25, 120: 1.0}
    assert {graph.by_name["main"].rates.lr_at(70), graph.by_name["main"].rates.lr_at(29)} == {0.25, 1.0}
    assert [graph.by_name[f"branch-v{k}"].parent.generation for k in (1, 2, 3)] == [0, 1, 2]  # type: ignore[union-attr]
    assert graph.by_name["branch-v2"].lr_stop == GRAPH.by_name["branch-v2"].lr_stop


def test_a_branch_from_the_step_that_its_parent_was_taken_back_to_is_of_the_older_history() -> None:
    branch = amended(GRAPH, stored(main=(Amendment(70, peak_lr=0.25),)), NONE).by_name["branch-v2"]
    assert (branch.lr_start, branch.parent.generation if branch.parent else None) == (1.0, 0)


def test_a_branch_that_was_begun_keeps_its_history_and_its_digest() -> None:
    before = digests(GRAPH)
    graph = amended(GRAPH, stored(main=(Amendment(60, peak_lr=0.25),)), ALL)
    assert digests(graph) == before | {"main": digests(graph)["main"]}
    assert graph.by_name["branch-v2"].lr_start == 1.0
    new = amended(GRAPH, stored(main=(Amendment(60, peak_lr=0.25),)), lambda name: name != "branch-v2")
    assert digests(new)["branch-v2"] != before["branch-v2"]
    assert digests(new)["branch-v3"] == before["branch-v3"]


def test_a_path_that_restarts_at_a_rate_of_its_own_keeps_it() -> None:
    first = next(path for path in GRAPH.paths if path.kind == "cpt")
    child = next(path for path in GRAPH.paths if path.parent and path.parent.path == first.name)
    graph = amended(GRAPH, stored(**{first.name: (Amendment(20, peak_lr=0.25),)}), NONE)
    assert graph.by_name[child.name].rates.base == child.schedule
    assert digests(graph)[child.name] != digests(GRAPH)[child.name], "its parent has another history"


@given(
    st.lists(
        st.builds(
            Amendment,
            at=st.integers(1, 119),
            skip=st.integers(0, 3),
            peak_lr=st.sampled_from([None, 0.5, 0.25]),
            clip_grad_norm=st.sampled_from([None, 0.5]),
        ),
        max_size=3,
    ).map(tuple)
)
def test_an_amendment_moves_nothing_and_reaches_no_digest_of_an_earlier_step(main: Amendments) -> None:
    graph = amended(GRAPH, stored(main=main), NONE)
    for path, plain in zip(graph.paths, GRAPH.paths, strict=True):
        assert (path.extends(plain), plain.extends(path), path.segments) == (True, True, plain.segments)
    assert share(GRAPH.paradigms, graph.by_name) == GRAPH
    first = min((each.at for each in main), default=200)
    assert digests(graph, first) == digests(GRAPH, first)
    if main:
        assert digests(graph, first + 1)["main"] != digests(GRAPH, first + 1)["main"]
