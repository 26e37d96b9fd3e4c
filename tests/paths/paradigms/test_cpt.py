"""Continual pre-training: rates and optimizer of its paths for every kind of restart."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lrps.base.errors import ConfigError
from lrps.config.models import Config
from lrps.paths.paradigms.compile import compile_graph
from support.compiled_paths import compiled, increments

MakeConfig = Callable[..., Config]


def test_cpt_rewarms_from_the_last_rate_and_resets_the_optimizer() -> None:
    first, second = compiled([100, 100], kind="cpt", final_lr=0.1).paths
    assert second.parent is not None
    assert (second.parent.path, second.parent.step, second.parent.optimizer) == (first.name, 100, "reset")
    assert [second.schedule.lr_at(s) for s in (100, 104, 105)] == pytest.approx([0.28, 1.0, 1.0])
    assert second.lr_stop == 0.1


def test_cpt_can_continue_at_the_final_rate() -> None:
    _, second = compiled([100, 100], kind="cpt", restart="continue", final_lr=0.1, optimizer="carry").paths
    assert {second.schedule.lr_at(s) for s in range(100, 200)} == {0.1}


def test_cpt_at_the_final_rate_zero_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing would be learned; set paradigms.cpt.final_lr"):
        compiled([100, 100], kind="cpt", restart="continue")


def test_cpt_can_stay_at_the_peak() -> None:
    first, second = compiled([100, 100], kind="cpt", restart="constant").paths
    assert first.schedule.lr_at(99) == second.schedule.lr_at(150) == 1.0


def test_cpt_continues_at_the_rate_that_a_multi_step_decay_ends_at() -> None:
    first, second = compiled([100, 100], kind="cpt", restart="continue", decay="multi-step").paths
    assert first.lr_stop == second.lr_start == pytest.approx(0.1)


def test_a_rewarmup_that_leaves_no_room_is_refused(make_config: MakeConfig) -> None:
    config = make_config(schedule={"peak_lr": 1.0, "warmup_steps": 20}, paradigms={"cpt": {}})
    with pytest.raises(ConfigError, match=r"re-warm-up of 20 steps leaves no step of version v2 \(15 steps\)"):
        compile_graph(config, increments(40, 15))
