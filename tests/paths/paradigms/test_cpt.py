"""Continual pre-training: rates and optimizer of its paths for every kind of restart."""

from __future__ import annotations

import math
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


def test_autoregressive_peaks_lie_on_one_cosine_from_the_first_peak_to_the_final_rate() -> None:
    paths = compiled([100, 100, 300], kind="cpt", restart="autoregressive", final_lr=0.1, rewarm_steps=20).paths
    warmup = 5
    first = paths[0].schedule.lr_at(warmup)
    assert first == 1.0
    for path in paths[1:]:
        done = (path.start + 20 - warmup) / (path.stop - warmup)
        peak = 0.1 + 0.9 * (1 + math.cos(math.pi * done)) / 2
        assert max(path.schedule.lr_at(step) for step in range(path.start, path.stop)) == pytest.approx(peak)
        assert path.schedule.lr_at(path.start + 19) == pytest.approx(peak), "the re-warm-up ends at the peak"
        assert path.lr_stop == 0.1
    assert paths[1].parent is not None


def test_versions_of_cpt_may_have_peaks_of_their_own() -> None:
    paths = compiled([100, 100, 100], kind="cpt", peak_lr=0.8, peak_lr_per_version={"v3": 0.5}).paths
    assert [max(path.schedule.lr_at(step) for step in range(path.start, path.stop)) for path in paths] == [
        0.8,
        0.8,
        0.5,
    ]


@pytest.mark.parametrize("restart", ["autoregressive", "continue", "constant"])
def test_peaks_that_follow_from_the_first_cannot_be_given(restart: str) -> None:
    with pytest.raises(ValueError, match="peak_lr_per_version needs restart: rewarm"):
        compiled([100, 100], kind="cpt", restart=restart, peak_lr_per_version={"v2": 0.5})


def test_cpt_continues_at_the_rate_that_a_multi_step_decay_ends_at() -> None:
    first, second = compiled([100, 100], kind="cpt", restart="continue", decay="multi-step").paths
    assert first.lr_stop == second.lr_start == pytest.approx(0.1)


def test_a_rewarmup_that_leaves_no_room_is_refused(make_config: MakeConfig) -> None:
    config = make_config(schedule={"peak_lr": 1.0, "warmup_steps": 20}, paradigms={"cpt": {}})
    with pytest.raises(ConfigError, match=r"re-warm-up of 20 steps leaves no step of version v2 \(15 steps\)"):
        compile_graph(config, increments(40, 15))
