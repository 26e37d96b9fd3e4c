"""Attributed steps, compared with a count that walks from every release back to the first step, one step at a time."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrps.config.models import Config
from lrps.paths.attribution import Attribution, StepRange, attribute, steps_needed
from lrps.paths.graph import Paradigm, Release, Segment, SourceRange, TrainingPath
from lrps.paths.increments import Increment
from lrps.paths.paradigms.compile import compile_graph
from lrps.paths.schedule import constant
from support.values import config_values

MakeConfig = Callable[..., Config]
Step = tuple[str, int]
"""(name of the path, number of the step along its lineage, from 1)"""


def paradigms_of(steps: list[int], **strategies: Any) -> tuple[Paradigm, ...]:
    versions = [{"name": f"v{k}"} for k in range(1, len(steps) + 1)]
    data = {"root": "nowhere", "sequence_length": 8, "versions": versions}
    schedule = {"peak_lr": 1.0, "warmup_steps": 0}
    config = Config.model_validate(config_values(data=data, schedule=schedule, paradigms=strategies))
    increments = [Increment(f"v{k}", t * config.batch.sequences, t) for k, t in enumerate(steps, 1)]
    return compile_graph(config, increments).paradigms


def walk(paradigm: Paradigm, release: Release) -> list[Step]:
    """Return every step that led to a release, newest first."""
    by_name = {path.name: path for path in paradigm.paths}
    path, step = by_name[release.path], release.step
    walked = []
    while True:
        while step == path.start and path.parent is not None:
            path = by_name[path.parent.path]
        if step == 0:
            return walked
        walked.append((path.name, step))
        step -= 1


def counted(paradigm: Paradigm) -> tuple[dict[str, int], dict[str, int], dict[str, Fraction]]:
    """Return the lineage, marginal and shared steps of every version, counted step by step."""
    walks = {release.version: walk(paradigm, release) for release in paradigm.releases}
    users: dict[Step, list[str]] = {}
    for version, steps in walks.items():
        for step in steps:
            users.setdefault(step, []).append(version)
    marginal, shared = dict.fromkeys(walks, 0), dict.fromkeys(walks, Fraction(0))
    for versions in users.values():
        marginal[versions[0]] += 1
        for version in versions:
            shared[version] += Fraction(1, len(versions))
    return {version: len(steps) for version, steps in walks.items()}, marginal, shared


def attributed(attribution: Attribution) -> tuple[dict[str, int], dict[str, int], dict[str, Fraction]]:
    """Return the lineage, marginal and shared steps of every version, from the attribution."""
    releases = list(attribution.lineages)
    return (
        {r.version: sum(s.steps for s in attribution.lineages[r]) for r in releases},
        {r.version: sum(s.steps for s in attribution.marginal(r)) for r in releases},
        {r.version: sum((s.steps * part for s, part in attribution.shared(r).items()), Fraction(0)) for r in releases},
    )


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(st.integers(3, 30), min_size=1, max_size=6),
    alphas=st.lists(st.sampled_from([0.1, 0.34, 0.6, 0.95, 1.0]), min_size=6, max_size=6),
    release_first=st.booleans(),
    of=st.sampled_from(["increment", "steps-so-far"]),
)
def test_every_step_is_attributed_as_a_walk_finds_it(
    steps: list[int], alphas: list[float], release_first: bool, of: str
) -> None:
    per_version = {f"v{k}": alpha for k, alpha in enumerate(alphas[: len(steps)], 1)}
    switching = {"alpha_per_version": per_version, "alpha_of": of, "release_first": release_first}
    all_kinds = {"path-switching": switching, "ptfs": {}, "cpt": {}, "wsd-s": {"final_lr": 0.1}}
    for paradigm in paradigms_of(steps, **all_kinds):
        attribution = attribute(paradigm)
        lineage, marginal, shared = attributed(attribution)
        assert (lineage, marginal, shared) == counted(paradigm)
        assert sum(marginal.values()) == sum(shared.values()) == paradigm.total_steps
        assert sum(step_range.steps for step_range in attribution.step_ranges) == paradigm.total_steps
        assert attribution.unreleased == ()


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(st.integers(3, 30), min_size=2, max_size=6),
    alphas=st.lists(st.sampled_from([0.1, 0.6, 1.0]), min_size=6, max_size=6),
    release_first=st.booleans(),
)
def test_what_some_releases_need_is_what_a_plan_of_these_versions_trains(
    steps: list[int], alphas: list[float], release_first: bool
) -> None:
    of_all, of_first = (
        paradigms_of(
            lengths,
            **{
                "path-switching": {
                    "alpha_per_version": {f"v{k}": alpha for k, alpha in enumerate(alphas[: len(lengths)], 1)},
                    "alpha_of": "steps-so-far",
                    "release_first": release_first,
                }
            },
            ptfs={},
            cpt={},
        )
        for lengths in (steps, steps[:-1])
    )
    for whole, shorter in zip(of_all, of_first, strict=True):
        assert steps_needed(whole, whole.releases) == whole.total_steps
        assert steps_needed(whole, whole.releases[:-1]) == shorter.total_steps


def test_four_equal_versions() -> None:
    switching, ptfs, cpt = paradigms_of([1000] * 4, **{"path-switching": {"alpha": 0.6}, "ptfs": {}, "cpt": {}})
    lineage, marginal, shared = attributed(attribute(switching))
    assert list(lineage.values()) == [1000, 2000, 3000, 4000]
    assert list(marginal.values()) == [1000, 1600, 1600, 1600]
    main = [Fraction(400, 4), Fraction(1000, 3), Fraction(1000, 2), Fraction(1000)]
    assert list(shared.values()) == [600 + sum(main[: k + 1]) for k in range(4)]
    assert list(attributed(attribute(ptfs))[1].values()) == [1000, 2000, 3000, 4000]
    assert list(attributed(attribute(cpt))[2].values()) == [250, 250 + 1000 / Fraction(3), *cpt_rest()]


def cpt_rest() -> list[Fraction]:
    third = 250 + Fraction(1000, 3) + 500
    return [third, third + 1000]


def test_steps_that_no_version_needs_are_kept() -> None:
    segment = Segment(10, (SourceRange("v1", 0, 10),))
    main = TrainingPath("main", "main", None, 0, 10, constant(0, None, 1.0), (segment,))
    attribution = attribute(Paradigm("made-up", "path-switching", (main,), (Release("v1", "main", 4),)))
    assert attribution.unreleased == (StepRange("main", 4, 10),)
    assert attributed(attribution) == ({"v1": 4}, {"v1": 4}, {"v1": 4})


@pytest.mark.parametrize("step", [4, 10])
def test_two_versions_of_one_state_share_it(step: int) -> None:
    segment = Segment(10, (SourceRange("v1", 0, 10),))
    main = TrainingPath("main", "main", None, 0, 10, constant(0, None, 1.0), (segment,))
    releases = (Release("v1", "main", step), Release("v2", "main", step))
    _, marginal, shared = attributed(attribute(Paradigm("made-up", "path-switching", (main,), releases)))
    assert marginal == {"v1": step, "v2": 0}
    assert shared == {"v1": Fraction(step, 2), "v2": Fraction(step, 2)}
