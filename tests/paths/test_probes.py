"""Probes, compared with independent arithmetic: where they fork, what they and their controls read, and their names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrps.base.errors import ConfigError
from lrps.config.models import Config
from lrps.paths.graph import Graph, TrainingPath
from lrps.paths.increments import RehearsalSet
from lrps.paths.paradigms.compile import compile_graph
from support.compiled_paths import increments, parts
from support.values import config_values

BATCH = 2
SHAPES = ["linear", "cosine", "1-sqrt", "multi-step"]


def graph_of(
    steps: Sequence[int],
    probes: dict[str, Any],
    existing: Graph | None = None,
    paradigms: dict[str, Any] | None = None,
    **changes: Any,
) -> Graph:
    versions = [{"name": f"v{k}"} for k in range(1, len(steps) + 1)]
    data = {"root": "nowhere", "sequence_length": 8, "versions": versions, "candidates": [{"name": "code"}]}
    schedule = {"peak_lr": 1.0, "warmup_steps": 5}
    values = config_values(data=data, schedule=schedule, paradigms=paradigms or {"path-switching": {}}, probes=probes)
    config = Config.model_validate({**values, **changes})
    sets = [RehearsalSet(each.name, 40, each.since) for each in config.data.rehearsal]
    return compile_graph(config, increments(*steps), existing.by_name if existing else None, sets)


def probe(at: Any = "v2", steps: int = 10, **more: Any) -> dict[str, Any]:
    return {"at": at, "steps": steps, "data": {"v2": 0.7, "code": 0.3}, **more}


def rows(paths: Sequence[TrainingPath], until: int) -> Counter[tuple[str, int]]:
    """Count every row that paths read in turn, the last one from its start to `until`; no step mixes several sources
    but at the end."""
    read: Counter[tuple[str, int]] = Counter()
    for path, following in zip(paths, (*paths[1:], None), strict=True):
        left = BATCH * ((until if following is None else following.start) - path.start)
        for source, first, last in parts(path):
            taken = min(left, last - first)
            read.update((source, row) for row in range(first, first + taken))
            left -= taken
    return read


def test_a_probe_forks_where_the_branch_does_and_decays_from_the_main_rate() -> None:
    graph = graph_of([100, 50, 200], {"p": probe(), "q": probe({"step": 60}, 20, decay="cosine")})
    p, q = graph.probes
    assert (p.path.name, p.path.kind, p.path.start, p.path.stop) == ("probe-p", "probe", 120, 130)
    assert (q.path.start, q.path.stop) == (60, 80)
    assert parts(p.path) == [("code", 0, 6), ("v2", 40, 54)], "v2 is read on from where the main path is"
    assert parts(p.control) == [("v2", 40, 60)]
    assert p.path.lr_start == p.control.lr_start == 1.0
    assert p.path.lr_stop == 0.0
    assert q.path.schedule.lr_at(70) == pytest.approx(0.5)
    assert graph.branch_points("main") == (40, 60, 120, 230)


@given(
    increment_steps=st.lists(st.integers(20, 90), min_size=2, max_size=5),
    shares=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    decay=st.sampled_from(SHAPES),
    draw=st.data(),
)
@settings(deadline=None, max_examples=60)
def test_a_control_is_the_probe_but_for_its_rows_which_are_the_next_of_the_main_path(
    increment_steps: list[int], shares: list[int], decay: str, draw: st.DataObject
) -> None:
    end = sum(increment_steps)
    plain = graph_of(increment_steps, {})
    start = draw.draw(st.integers(5, plain.by_name["main"].stop))
    steps = draw.draw(st.integers(1, end - start))
    names = ["v1", "code", "v2"][: len(shares)]
    data = {name: share / sum(shares) for name, share in zip(names, shares, strict=True)}
    wanted = {"at": {"step": start}, "steps": steps, "decay": decay, "data": data}
    if any(BATCH * steps * share < 1 for share in data.values()):
        return
    graph = graph_of(increment_steps, {"p": wanted})
    (made,) = graph.probes
    main, path, control = graph.by_name["main"], made.path, made.control
    # The increments in a row are what the main path reads and would read.
    in_order = [(f"v{k}", row) for k, t in enumerate(increment_steps, 1) for row in range(BATCH * t)]
    assert rows([main, control], control.stop) == Counter(in_order[: BATCH * control.stop])
    assert (path.parent, path.start, path.stop, path.schedule) == (
        *(control.parent, control.start, control.stop, control.schedule),
    )
    counts = Counter[str]()
    for source, first, last in parts(path):
        counts[source] += last - first
        read_before = [row for name, row in in_order[: BATCH * start] if name == source]
        assert first == len(read_before)
    assert counts.total() == BATCH * steps
    for name, share in data.items():
        assert abs(counts[name] - share * BATCH * steps) < 1 + 1e-9
    assert graph.paradigms == plain.paradigms, "no paradigm changes"
    assert [p for p in graph.paths if p.name in plain.by_name] == list(plain.paths)
    assert graph.releases == plain.releases


def test_one_control_serves_all_probes_of_the_same_start_length_and_shape() -> None:
    graph = graph_of([100, 50], {"a": probe(), "b": probe(data={"code": 1.0}), "c": probe(decay="cosine")})
    a, b, c = graph.probes
    assert a.control == b.control
    assert c.control.name == "probe-control-120-10-cosine"
    assert [path.name for path in graph.probe_paths] == [
        *("probe-control-120-10-linear", "probe-a", "probe-b", "probe-control-120-10-cosine", "probe-c"),
    ]
    assert graph.probed["probe-control-120-10-linear"] == ("a", "b")
    assert graph.total_steps == graph_of([100, 50], {}).total_steps + 50


def test_a_control_of_the_length_of_a_branch_is_that_branch() -> None:
    graph = graph_of([100, 50], {"p": probe(steps=30)})
    assert graph.probes[0].control == graph.by_name["branch-v2"]
    assert [path.name for path in graph.probe_paths] == ["probe-p"]
    assert graph.probed == {"branch-v2": ("p",), "probe-p": ("p",)}


def test_a_control_reads_what_the_mix_of_the_main_path_would() -> None:
    mixed = {"path-switching": {"main_mix": {"new": 0.5, "replay": 0.5}}}
    (made,) = graph_of([100, 50, 60], {"p": probe("v3", 10, data={"code": 1.0})}, paradigms=mixed).probes
    counts = Counter[str]()
    for source, first, last in parts(made.control):
        counts[source] += last - first
    assert counts["v3"] == 10
    assert counts["v1"] + counts["v2"] == 10


def test_names_on_disk_survive_a_new_name_in_the_config() -> None:
    first = graph_of([100, 50], {"p": probe()})
    again = graph_of([100, 50], {"q": probe()}, existing=first)
    assert again.probes == (replace(first.probes[0], name="q"),)
    # A paradigm that needs the path of a control later keeps its own names.
    grown = graph_of([100, 50], {}, existing=first, paradigms={"path-switching": {"alpha": 0.2}})
    assert [path.name for path in grown.paths] == ["main", "branch-v1", "branch-v2"]


def test_a_version_that_is_the_main_path_itself_is_probed_at_its_release() -> None:
    graph = graph_of([100, 50], {"p": probe("v1")}, paradigms={"path-switching": {"release_first": False}})
    assert graph.probes[0].path.start == 100


LOW = {"path-switching": {"peak_lr": 0.2, "final_lr": 0.0}}


@pytest.mark.parametrize(
    ("wanted", "changes", "message"),
    [
        (probe({"step": 300}), {}, "probes.p.at: main ends at step 120; choose that step or an earlier one"),
        (probe({"step": 3}), {}, "probes.p.at: step 3 is in the warm-up; choose step 5 or a later one"),
        (probe(steps=40), {}, "probes.p.steps: the increments end at step 150, .* at most 30"),
        (probe(decay="exponential"), {}, "probes.p.decay: 'exponential' never reaches schedule.final_lr, which is 0"),
        (
            probe(),
            {"schedule": {"peak_lr": 1.0, "final_lr": 0.4, "warmup_steps": 5}, "paradigms": LOW},
            "probes.p.decay: it would rise from the main path's rate 0.2 to schedule.final_lr 0.4",
        ),
        (probe(data={"v2": 0.99, "code": 0.01}), {}, "probes.p.data: the share of code is less than one sequence"),
        (
            probe({"step": 110}),
            {"paradigms": {"path-switching": {"main_mix": {"new": 0.5, "replay": 0.5}}}},
            "step 110 is within steps 100 to 120 of main, which mix several sources .* choose step 100",
        ),
        (
            probe("v1"),
            {"paradigms": {"path-switching": {"alpha_per_version": {"v1": 1.0}}}},
            "branch-v1 begins at step 0 and forks from no main path",
        ),
        (
            probe("v1"),
            {"paradigms": {"path-switching": {"alpha": 1.0, "alpha_of": "steps-so-far"}}},
            "probes.p.at: the paradigm has no main path",
        ),
    ],
    ids=str,
)
def test_a_probe_that_cannot_be_is_explained(wanted: dict[str, Any], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        graph_of([100, 50], {"p": wanted}, **changes)


def test_a_name_that_is_taken_is_refused() -> None:
    probes = {"p": probe(), "control-120-10-linear": probe(data={"code": 1.0})}
    with pytest.raises(ConfigError, match="both call a path 'probe-control-120-10-linear'"):
        graph_of([100, 50], probes)
    with pytest.raises(ConfigError, match="both call a path 'probe-P'"):
        graph_of([100, 50], {"p": probe(), "P": probe(data={"code": 1.0})})
