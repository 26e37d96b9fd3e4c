"""The config that DeepSpeed gets: defaults of lrps, settings of the user over them, lrps' own over both."""

from __future__ import annotations

from typing import Any

import pytest

from lrps.base.errors import ConfigError
from lrps.config.models import Config
from lrps.engine.setup.settings import Division, deepspeed_settings, division, sums_gradients
from lrps.store.conventions import NEWEST
from support.values import config_values

PARAMETERS = 10**9
HOSTS = {"launcher": "deepspeed", "hostfile": "hosts"}
"""A launch whose number of processes no config knows."""


def made(processes: int = 2, on_gpu: bool = False, own_sums: bool = False, **engine: Any) -> dict[str, Any]:
    config = Config.model_validate(config_values(engine=engine, launch=HOSTS))
    return deepspeed_settings(config, Division(3, 4), PARAMETERS, processes=processes, on_gpu=on_gpu, own_sums=own_sums)


def test_without_settings_a_cpu_gets_what_it_always_got() -> None:
    always = {
        "train_micro_batch_size_per_gpu": 3,
        "gradient_accumulation_steps": 4,
        "gradient_clipping": 1.0,
        "zero_optimization": {"stage": 2, "reduce_bucket_size": 5 * 10**8},
        "steps_per_print": 10**9,
        "bf16": {"enabled": True, "check_grad_overflow": True},
        "data_types": {"grad_accum_dtype": "fp32"},
    }
    assert made(zero_stage=2, precision="bf16") == always
    assert made(zero_stage=2, precision="bf16", processes=1, on_gpu=True) == always
    stage_1 = made(zero_stage=1, precision="bf16")
    assert "data_types" not in stage_1
    assert made(zero_stage=1, precision="bf16", own_sums=True) == {**stage_1, "gradient_accumulation_steps": 1}


def test_several_gpus_overlap_in_smaller_buckets() -> None:
    assert made(on_gpu=True)["zero_optimization"] == {
        "stage": 1,
        "reduce_bucket_size": 2 * 10**8,
        "allgather_bucket_size": 2 * 10**8,
        "overlap_comm": True,
    }


def test_the_users_settings_are_between_the_defaults_and_those_of_lrps() -> None:
    zero = {"overlap_comm": False, "reduce_bucket_size": 7, "offload_optimizer": {"device": "cpu"}}
    found = made(on_gpu=True, zero_stage=2, deepspeed={"zero_optimization": zero, "disable_python_gc": True})
    assert found["zero_optimization"] == {**zero, "stage": 2, "allgather_bucket_size": 2 * 10**8}
    assert found["zero_force_ds_cpu_optimizer"] is False
    assert found["disable_python_gc"] is True


def test_a_second_copy_among_ranks_that_do_not_divide_the_processes_is_refused() -> None:
    zero = {"zero_optimization": {"zero_hpz_partition_size": 2}}
    assert made(processes=4, zero_stage=3, deepspeed=zero)["zero_optimization"]["zero_hpz_partition_size"] == 2
    with pytest.raises(ConfigError, match="zero_hpz_partition_size 2 does not divide 3 processes"):
        made(processes=3, zero_stage=3, deepspeed=zero)


@pytest.mark.parametrize(
    ("engine", "micro_batches", "conventions", "expected"),
    [
        ({"precision": "bf16"}, 2, NEWEST, True),
        ({"precision": "bf16"}, 1, NEWEST, False),
        ({"precision": "bf16", "zero_stage": 2}, 2, NEWEST, False),
        ({"precision": "fp32"}, 2, NEWEST, False),
        ({"precision": "bf16"}, 2, {"padding": "none"}, False),
    ],
)
def test_only_stage_1_in_bf16_with_several_micro_batches_needs_a_sum_of_its_own(
    engine: dict[str, Any], micro_batches: int, conventions: dict[str, str], expected: bool
) -> None:
    config = Config.model_validate(config_values(engine=engine))
    assert sums_gradients(config, micro_batches, conventions) is expected


def test_a_batch_is_divided_or_refused() -> None:
    config = Config.model_validate(config_values(batch={"sequences": 12, "micro_sequences": 2}))
    assert division(config, 3) == Division(2, 2)
    assert division(config, 3).rows == 4
    with pytest.raises(ConfigError, match="12 does not divide over 5 processes"):
        division(config, 5)
    with pytest.raises(ConfigError, match="is 3 sequences each, which batch.micro_sequences 2 does not divide"):
        division(config, 4)


def test_processes_that_share_rows_count_as_one() -> None:
    batch = {"sequences": 12, "micro_sequences": 2}
    config = Config.model_validate(config_values(batch=batch, engine={"sequence_parallel": 2}, launch=HOSTS))
    assert [division(config, processes) for processes in (2, 4, 6, 12)] == [
        Division(2, 6), Division(2, 3), Division(2, 2), Division(2, 1),
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="engine.sequence_parallel 2 does not divide 3 processes; start a multiple"):
        division(config, 3)
    with pytest.raises(ConfigError, match="12 does not divide over 5 groups of 2 processes"):
        division(config, 10)
    with pytest.raises(ConfigError, match="over 4 groups of 2 processes is 3 sequences each, which"):
        division(config, 8)


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_shared_rows_need_gradients_without_reduce_scatter_at_stage_3_only(stage: int) -> None:
    """There, DeepSpeed's reduce-scatter divides them by all processes."""
    alone, shared = (made(zero_stage=stage, sequence_parallel=parts) for parts in (1, 2))
    assert "reduce_scatter" not in alone["zero_optimization"]
    assert shared["zero_optimization"].get("reduce_scatter") is (False if stage == 3 else None)
