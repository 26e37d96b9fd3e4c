"""The time of a step on many GPUs, against values computed by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.values import load_tool

tool = load_tool("step_time")
SLOW = tool.Cluster(devices=5, peak_flops=1000.0, efficiency=0.5, bytes_per_second=8.0)
"""For 100 parameters and 25 tokens: compute 3000 / 500 = 6 s (forward 2, backward 4), and a send of all weights in bf16
takes 200 x 4 / 5 / 8 = 20 s."""


@pytest.mark.parametrize(
    ("stage", "micro", "exposed"),
    [
        (1, 1, 40 - 4 + 20),
        (1, 4, 40 + 20),
        (2, 1, 40 - 4 + 20),
        (2, 4, 160 - 4 + 20),
        (3, 1, (20 - 2) + (40 - 4)),
        (3, 4, (80 - 2) + (160 - 4)),
    ],
)
def test_what_nothing_hides(stage: int, micro: int, exposed: float) -> None:
    step = tool.step_time(100, 25, micro, stage, SLOW)
    assert step.compute == pytest.approx(6)
    assert step.exposed == pytest.approx(exposed)
    assert step.flops_share == pytest.approx(3 / (6 + exposed))


@given(st.sampled_from([2, 3]), st.integers(1, 8), st.floats(1e6, 1e12), st.integers(2, 4096))
def test_a_fast_network_leaves_the_efficiency_of_the_kernels(
    stage: int, micro: int, parameters: float, devices: int
) -> None:
    fast = tool.Cluster(devices, 989e12, 0.5, 1e30)
    step = tool.step_time(parameters, 8e6, micro, stage, fast)
    assert step.flops_share == pytest.approx(0.5)
    slower = tool.step_time(parameters, 8e6, micro, stage, tool.Cluster(devices, 989e12, 0.5, 1e9))
    assert slower.seconds >= step.seconds
