"""Pre-training from scratch: starts, rows, steps and rates of its paths."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrps.base.errors import ConfigError
from lrps.config.models import Config
from lrps.paths.graph import Graph
from lrps.paths.paradigms.compile import compile_graph
from support.compiled_paths import compiled, increments, parts
from support.values import config_values


def graph_of(steps: list[int], warmup: int = 0, **paradigms: Any) -> Graph:
    """Return the graph of some paradigms, for increments of these numbers of steps of 2 rows."""
    versions = [{"name": f"v{k}"} for k in range(1, len(steps) + 1)]
    data = {"root": "nowhere", "sequence_length": 8, "versions": versions}
    schedule = {"peak_lr": 1.0, "warmup_steps": warmup}
    config = Config.model_validate(config_values(data=data, schedule=schedule, paradigms=paradigms))
    return compile_graph(config, increments(*steps))


def test_ptfs_mixes_all_increments_from_the_start() -> None:
    paths = compiled([100, 50], kind="ptfs").paths
    assert [parts(path) for path in paths] == [[("v1", 0, 200)], [("v1", 0, 200), ("v2", 0, 100)]]
    assert [len(path.segments) for path in paths] == [1, 1]
    assert all(path.parent is None and path.lr_stop == 0 for path in paths)


def test_a_version_may_have_a_peak_of_its_own() -> None:
    paths = compiled([100, 50], kind="ptfs", peak_lr_per_version={"v2": 0.5}).paths
    assert [max(path.schedule.lr_at(step) for step in range(path.stop)) for path in paths] == [1.0, 0.5]


def test_a_final_rate_above_the_peak_of_a_version_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"the final rate 0.2 is above the peak rate 0.1 of version v2"):
        compiled([100, 50], kind="ptfs", final_lr=0.2, peak_lr_per_version={"v2": 0.1})


def test_matched_steps_are_those_that_each_version_added() -> None:
    """Four versions of 100 steps, branches of 60: version 1 costs 100 steps, every later one 60 + 100."""
    matched = {"kind": "ptfs", "steps_of": "path-switching"}
    graph = graph_of([100] * 4, **{"path-switching": {"alpha": 0.6}, "matched": matched})
    paradigm = graph.paradigms[1]
    assert [path.stop for path in paradigm.paths] == [100, 160, 160, 160]
    assert parts(paradigm.paths[-1]) == [(f"v{k}", 0, 80) for k in (1, 2, 3, 4)], "a quarter of 320 rows each"
    assert all(path.parent is None and path.kind == "ptfs" and path.lr_stop == 0 for path in paradigm.paths)
    assert paradigm.kind == "matched-steps"
    assert paradigm.total_steps == graph.paradigms[0].total_steps


def test_a_share_of_the_steps_so_far_is_one_of_the_versions_own_steps() -> None:
    matched = {"kind": "ptfs", "steps_of": "cpt", "decay": "linear"}
    paths = graph_of([100, 50], cpt={}, matched={**matched, "alpha": 0.5}).paradigms[1].paths
    assert [[step for step in (24, 25, 26) if path.schedule.lr_at(step) == 1.0] for path in paths] == [
        [24, 25, 26],
        [24, 25],
    ]


@settings(deadline=None, max_examples=40)
@given(
    steps=st.lists(st.integers(1, 400), min_size=1, max_size=6),
    alpha=st.integers(1, 100),
    release=st.sampled_from(["branch", "main", "merge"]),
)
def test_matched_steps_cost_what_the_other_paradigm_costs(steps: list[int], alpha: int, release: str) -> None:
    other = {"alpha": alpha / 100, "release": release}
    matched = {"kind": "ptfs", "steps_of": "path-switching"}
    one, same = graph_of(steps, **{"path-switching": other, "matched": matched}).paradigms
    assert same.total_steps == one.total_steps
    for k, path in enumerate(same.paths):
        read = {source: stop for source, start, stop in parts(path) if start == 0}
        wanted = {f"v{i + 1}": 2 * path.stop * steps[i] / sum(steps[: k + 1]) for i in range(k + 1)}
        assert all(abs(read.get(source, 0) - rows) < 1 for source, rows in wanted.items())
        assert all(rows <= 2 * steps[int(source[1:]) - 1] for source, rows in read.items()), "nothing is read twice"


def test_ptfs_with_its_own_steps_is_ptfs() -> None:
    graph = graph_of([30, 70, 20], warmup=5, ptfs={}, matched={"kind": "ptfs", "steps_of": "ptfs"})
    assert graph.paradigms[1].paths == graph.paradigms[0].paths, "the same paths, trained once"


def test_a_warm_up_that_fills_matched_steps_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"paradigms.matched: version v2 adds 10 steps to cpt, and a warm-up of 20"):
        graph_of([100, 10], warmup=20, cpt={"rewarm_steps": 0}, matched={"kind": "ptfs", "steps_of": "cpt"})
