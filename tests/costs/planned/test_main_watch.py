"""Planned cost of watching main paths."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from lrps.base.errors import ConfigError
from lrps.config.loader import load_config
from lrps.config.models import Config
from lrps.costs.planned.main_watch import main_watches
from lrps.plan.main_curve import main_curve
from lrps.plan.plan import make_plan
from lrps.report.plan_text import watching_line


@pytest.mark.parametrize(("checkpointing", "passes"), [("false", 3), ("true", 4)])
def test_the_cost_is_that_of_the_forward_passes(tiny_config: Path, checkpointing: str, passes: int) -> None:
    settings = [
        "evaluation={main_every_steps: 7, main_max_rows: 5}",
        f"engine.activation_checkpointing={checkpointing}",
    ]
    plan = make_plan(load_config(tiny_config, settings))
    watch = main_watches(plan)["main"]
    # Forks after 8 and 28 of 28 steps; at each step two sets of 5 sequences; 4 sequences in a step.
    assert watch.evaluated_steps == (7, 8, 14, 21, 28) == tuple(main_curve(plan, plan.graph.by_name["main"]))
    assert watch.sequences == 5 * 2 * 5
    assert watch.steps == 50 / (passes * 4)
    assert watch.share_of_path == pytest.approx(float(Fraction(50, passes * 4 * 28)))
    assert watch.flops == round(
        Fraction(50, passes * 4) * plan.costs.tokens_per_step * (plan.costs.flops_per_token or 0)
    )
    assert "evaluated after 5 steps while it is trained" in watching_line("main", watch)
    assert "main_max_rows makes that cheaper" in watching_line("main", watch)


def test_off_costs_nothing_and_before_the_shards_it_is_not_known(
    tiny_config: Path, make_config: Callable[..., Config]
) -> None:
    assert main_watches(make_plan(load_config(tiny_config, ["evaluation.main_every_steps=null"]))) == {}
    watch = main_watches(make_plan(make_config()))["main"]
    assert (watch.evaluated_steps, watch.not_counted) == ((), ("v1", "v2", "v3", "v4"))
    assert watching_line("main", watch) == "main: it is evaluated while it is trained, once held-out shards exist."


@pytest.mark.parametrize("value", ["0", "-3", "1.5", "0.0", "true", "often"])
def test_other_values_are_refused(tiny_config: Path, value: str) -> None:
    with pytest.raises(ConfigError, match="evaluation.main_every_steps"):
        load_config(tiny_config, [f"evaluation.main_every_steps={value}"])


def test_an_average_is_evaluated_beside_the_weights_and_costs_as_much(tiny_config: Path) -> None:
    every = "evaluation={main_every_steps: 7, main_max_rows: 5}"
    plain, averaged = (
        main_watches(make_plan(load_config(tiny_config, [every, *more])))["main"]
        for more in ([], ["average={ema: {}}"])
    )
    assert averaged.steps == 2 * plain.steps
