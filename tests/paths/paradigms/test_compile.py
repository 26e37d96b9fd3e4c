"""Compiled graphs: their costs against independent arithmetic, shared paths, and configs that are refused."""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrps.base.errors import ConfigError
from lrps.config.models import Config
from lrps.config.strategies import KINDS
from lrps.paths.increments import RehearsalSet
from lrps.paths.paradigms.compile import COMPILERS, compile_graph
from support.compiled_paths import compiled, increments

MakeConfig = Callable[..., Config]


def test_every_kind_of_strategy_has_a_compile_function() -> None:
    assert set(COMPILERS) == set(KINDS)


@pytest.mark.parametrize(("kind", "total"), [("path-switching", 5800), ("ptfs", 10000), ("cpt", 4000)])
def test_four_equal_versions(kind: str, total: int) -> None:
    assert compiled([1000] * 4, kind=kind).total_steps == total


@pytest.mark.parametrize(
    ("alpha", "versions", "ratio"),
    [(0.2, 2, 0.733), (0.8, 2, 0.933), (0.4, 4, 0.520), (0.6, 4, 0.580), (0.2, 10, 0.215), (0.8, 10, 0.313)],
)
def test_ratios_of_the_paper(alpha: float, versions: int, ratio: float) -> None:
    steps = [1000] * versions
    measured = compiled(steps, alpha=alpha).total_steps / compiled(steps, kind="ptfs").total_steps
    assert round(measured, 3) == ratio


@given(
    steps=st.lists(st.integers(1, 5000), min_size=1, max_size=30),
    percents=st.lists(st.integers(1, 100), min_size=30, max_size=30),
)
@settings(deadline=None)
def test_unequal_versions_cost_the_closed_form(steps: list[int], percents: list[int]) -> None:
    alphas = {f"v{k}": percent / 100 for k, percent in enumerate(percents[: len(steps)], 1)}
    decays = [
        max(1, int((Decimal(percent) / 100 * t).quantize(Decimal(1), ROUND_HALF_UP)))
        for percent, t in zip(percents, steps, strict=False)
    ]
    paradigm = compiled(steps, alpha_per_version=alphas)
    assert paradigm.total_steps == sum(steps) + sum(decays[:-1])
    assert compiled(steps, kind="ptfs").total_steps == sum(sum(steps[:k]) for k in range(1, len(steps) + 1))
    assert compiled(steps, kind="cpt").total_steps == sum(steps)
    assert compiled(steps, kind="wsd-s", final_lr=0.1).total_steps == sum(steps)


def test_a_thousand_versions() -> None:
    n, t = 1000, 10
    assert compiled([t] * n).total_steps == t * n + 6 * (n - 1)
    assert compiled([t] * n, kind="ptfs").total_steps == t * n * (n + 1) // 2


def test_equal_paths_are_trained_once(make_config: MakeConfig) -> None:
    paradigms = {
        "path-switching": {},
        "long": {"kind": "path-switching", "alpha": 0.9},
        "short": {"kind": "path-switching", "alpha": 0.2},
        "ptfs": {},
        "cpt": {},
        "again": {"kind": "cpt"},
    }
    graph = compile_graph(make_config(paradigms=paradigms), increments(100, 100, 100, 100))
    named = {paradigm.name: [path.name for path in paradigm.paths] for paradigm in graph.paradigms}
    assert named["long"][0] == named["short"][0] == "main"
    assert named["cpt"] == named["again"] == ["ptfs-v1", "cpt-v2", "cpt-v3", "cpt-v4"]
    assert graph.by_name["main"].stop == 380, "the longest main path is the one that is trained"
    alone = {paradigm.name: paradigm.total_steps for paradigm in graph.paradigms}
    assert alone == {"path-switching": 580, "long": 670, "short": 460, "ptfs": 1000, "cpt": 400, "again": 400}
    assert graph.total_steps == 380 + 4 * (60 + 90 + 20) + 1000 + 300


def test_other_rates_are_other_paths(make_config: MakeConfig) -> None:
    paradigms = {"ptfs": {}, "cpt": {"decay": "linear"}}
    graph = compile_graph(make_config(paradigms=paradigms), increments(100, 100))
    assert graph.paradigms[1].paths[0].name == "cpt-v1"


def test_an_increment_below_one_step_is_refused(make_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match="version v2 has 1 sequences, less than one batch of 2"):
        compile_graph(make_config(), increments(100, 0))


def test_an_empty_set_is_refused(make_config: MakeConfig) -> None:
    sets = [RehearsalSet("a", 1, "v1"), RehearsalSet("b", 0, "v1")]
    with pytest.raises(ConfigError, match="rehearsal set b has less than one sequence"):
        compile_graph(make_config(), increments(100), rehearsal=sets)


@pytest.mark.parametrize("steps", [[20], [20, 30]])
@pytest.mark.parametrize("kind", ["path-switching", "ptfs", "cpt"])
def test_a_warmup_that_leaves_no_room_is_refused(kind: str, steps: list[int], make_config: MakeConfig) -> None:
    config = make_config(schedule={"peak_lr": 1.0, "warmup_steps": 20}, paradigms={kind: {}})
    with pytest.raises(ConfigError, match=r"warmup_steps 20 leaves no step of version v1 \(20 steps\)"):
        compile_graph(config, increments(*steps))
