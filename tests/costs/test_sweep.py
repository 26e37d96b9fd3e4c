"""Sweeps against the closed forms of method.md, which know of no graph."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrps.base.errors import ConfigError
from lrps.costs.price import Price
from lrps.costs.sweep import Grid, parse_values, sweep_costs
from lrps.plan.plan import make_plan

ALPHAS = (Fraction("0.2"), Fraction("0.4"), Fraction("0.6"), Fraction("0.8"))
ONE = (Fraction(1),)
OF_METHOD = {2: (0.733, 0.800, 0.867, 0.933), 4: (0.460, 0.520, 0.580, 0.640), 10: (0.215, 0.247, 0.280, 0.313)}


def test_the_table_of_the_method(make: Any) -> None:
    found: dict[int, list[float]] = {}
    for point in sweep_costs(make(), Grid(ALPHAS, (2, 4, 10), ONE)).points:
        found.setdefault(point.versions, []).append(round(point.ratio_to_ptfs, 3))
    assert {number: tuple(ratios) for number, ratios in found.items()} == OF_METHOD


@settings(max_examples=15, deadline=None)
@given(
    alphas=st.sets(st.integers(1, 20), min_size=1, max_size=3),
    versions=st.sets(st.integers(1, 9), min_size=1, max_size=3),
    growth=st.fractions(Fraction(1, 2), 3, max_denominator=8),
)
def test_steps_are_those_of_the_closed_forms(formulas: Any, alphas: set[int], versions: set[int], growth: Any) -> None:
    plan = make_plan(formulas.config(Path("nowhere"), hardware=None))
    grid = Grid(tuple(Fraction(a, 20) for a in sorted(alphas)), tuple(sorted(versions)), (growth,))
    for point in sweep_costs(plan, grid).points:
        n, alpha = point.versions, Fraction(str(point.alpha))
        sizes = [max(1, int(500 * growth**k + Fraction(1, 2))) for k in range(n)]
        decays = [max(1, int(alpha * size + Fraction(1, 2))) for size in sizes]
        steps = {name: cost.cost.steps for name, cost in point.costs.items()}
        assert steps["cpt"] == sum(sizes)
        assert steps["ptfs"] == sum((n - k) * size for k, size in enumerate(sizes))
        assert steps["path-switching"] == sum(sizes) + sum(decays[:-1])


def test_money_and_hours_are_those_of_the_hardware(make: Any) -> None:
    price = {"amount": 2.0, "currency": "EUR", "source": "x", "date": "2026-01-01"}
    hardware = {"device": "any", "devices": 4, "peak_tflops": 1e-6, "mfu": 0.5, "price_per_device_hour": price}
    plan = make(hardware=hardware)
    found = sweep_costs(plan, Grid((Fraction("0.6"),), (4,), ONE))
    (point,) = found.points
    paradigm = point.costs["path-switching"]
    flops = 2900 * 256 * plan.costs.flops_per_token
    assert paradigm.cost.flops == flops
    assert paradigm.cost.device_hours == pytest.approx(flops / 0.5e6 / 3600)
    assert paradigm.wall_clock_hours == pytest.approx(paradigm.cost.device_hours / 4)
    assert paradigm.cost.money == pytest.approx(2 * paradigm.cost.device_hours)
    assert found.hardware is not None
    assert found.hardware.price_per_device_hour == Price(2.0, "EUR", "x", "2026-01-01")
    unknown = sweep_costs(make(), Grid(ALPHAS, (2,), ONE))
    assert unknown.hardware is None
    assert unknown.points[0].costs["ptfs"].cost.money is None


def test_what_the_config_says_of_its_own_versions_is_left_out(make: Any) -> None:
    switching = {"alpha_per_version": {"v2": 0.1}, "release_first": False, "mix": {"new": 0.9, "replay": 0.1}}
    plan = make(paradigms={"mine": {"kind": "path-switching", **switching}})
    (point,) = sweep_costs(plan, Grid((Fraction("0.6"),), (3,), ONE)).points
    assert point.costs["path-switching"].cost.steps == 3 * 500 + 300, "version 1 is the main path itself"
    named = make(paradigms={"path-switching": {"release_per_version": {"v2": "main"}}})
    (point,) = sweep_costs(named, Grid((Fraction("0.6"),), (3,), ONE)).points
    assert point.costs["path-switching"].cost.steps == 3 * 500 + 2 * 300


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.2:0.8:0.2", ("0.2", "0.4", "0.6", "0.8")),
        ("0.8,0.2,0.2", ("0.2", "0.8")),
        ("2:5:2,9", ("2", "4", "9")),
        ("0.1:0.1:0.1", ("0.1",)),
    ],
)
def test_values(text: str, values: tuple[str, ...]) -> None:
    assert parse_values(text, "--alpha") == tuple(map(Fraction, values))


@pytest.mark.parametrize("text", ["", "a", "0.2:0.8", "0.2:0.8:0", "0.8:0.2:0.1", "1:2:-1", "0:1:0.00000001", "1/0"])
def test_values_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="--alpha .*: write values as"):
        parse_values(text, "--alpha")


@pytest.mark.parametrize(
    ("alphas", "versions", "growths", "said"),
    [
        ((Fraction(0),), (2,), ONE, "--alpha"),
        ((Fraction(3, 2),), (2,), ONE, "--alpha"),
        (ALPHAS, (0,), ONE, "--versions"),
        (ALPHAS, (101,), ONE, "--versions"),
        (ALPHAS, (2,), (Fraction(-1),), "--growth"),
        (ALPHAS, (2,), (Fraction(11),), "--growth"),
        (tuple(Fraction(k, 200) for k in range(1, 200)), tuple(range(1, 100)), ONE, "more than 10,000 points"),
    ],
)
def test_points_that_are_refused(alphas: Any, versions: Any, growths: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Grid(alphas, versions, growths)
