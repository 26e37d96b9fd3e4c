"""Settings that are passed to DeepSpeed: every one trains, saves, resumes and loads into a plain engine."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(params=["passed_some", pytest.param("passed_all", marks=pytest.mark.long)])
def passed(request):
    """Name of a variant -> findings on two ranks."""
    return request.getfixturevalue("matrix" if request.param == "passed_some" else "passed_settings")[2][request.param]


def test_a_state_is_saved_exactly_and_resumes_bitwise(passed):
    for name, found in passed.items():
        straight, resumed = found["losses"]
        assert straight == resumed, name
        assert (found["loaded"], found["resumed"]) == ([], []), name


def test_a_state_loads_into_a_plain_engine_of_another_stage_and_back(passed):
    for name, found in passed.items():
        assert (found["into another"], found["from another"]) == ([], []), name


def test_deepspeed_gets_the_settings_below_those_of_lrps(passed):
    asked = passed["offload both"]["asked"]
    on_host = {"device": "cpu"}
    assert asked["zero_optimization"].items() >= {"stage": 3, "offload_optimizer": on_host}.items()
    assert asked["zero_optimization"]["offload_param"] == on_host
    assert asked["zero_force_ds_cpu_optimizer"] is False
    assert asked["train_micro_batch_size_per_gpu"] == 1


def test_checkpoints_record_the_settings_that_change_last_digits(passed):
    assert passed["offload both"]["identity"] == {"offload_optimizer": "cpu"}
    if "broadcasts" in passed:
        assert passed["second copy"]["identity"] is None
        assert passed["send fp32"]["identity"] == {"communication_data_type": "fp32"}


@pytest.mark.parametrize("world", [1, 2])
def test_stage_1_sums_micro_batches_in_fp32(matrix, world):
    """The one rounding to bf16 that is left is that of every gradient which is sent."""
    found = matrix[world]["gradient_sums"]
    assert found["fp32"] < 2**-8
    assert found["bf16"] > 1.5 * found["fp32"]
