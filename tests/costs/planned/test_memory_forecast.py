"""The forecast of memory for a plan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lrps.config.models import Config
from lrps.costs.planned.memory_forecast import memory_forecast, offloaded_bytes
from lrps.paths.decoder import decoder_of
from lrps.paths.memory import Setting, memory_need
from lrps.plan.plan import Plan, make_plan
from lrps.report.plan_text import memory_notes


@pytest.fixture
def make(make_config: Callable[..., Config], tmp_path: Path) -> Callable[..., Any]:
    def made(**changes: Any) -> Any:
        values = {"batch": {"sequences": 8}, "hardware": {"device": "H100", "devices": 2}, "launch": {"processes": 2}}
        return make_plan(make_config(runs=str(tmp_path), **{**values, **changes}))

    return made


def test_it_is_the_forecast_of_the_config(make: Any) -> None:
    plan = make(batch={"sequences": 8, "micro_sequences": 2}, engine={"zero_stage": 3, "cross_entropy": "full"})
    document, decoder = memory_forecast(plan), decoder_of(plan.config.model)
    assert document is not None
    assert decoder is not None
    assert list(document.stages) == [0, 1, 2, 3]
    peak = memory_need(decoder, Setting(3, "fp32", 2, 2, 2, 8, chunked=False)).peak
    own = document.own_stage
    assert own == document.stages[3]
    assert own.peak_bytes == peak.total == sum(getattr(own, f"{part}_bytes") for part in vars(peak))
    assert own.share_of_device == peak.total / 80e9
    assert own.largest_micro_sequences == 4
    assert (document.processes, document.rows_per_process, document.micro_sequences) == (2, 4, 2)
    bf16 = memory_forecast(make(engine={"precision": "bf16"}))
    assert bf16 is not None
    assert list(bf16.stages) == [1, 2, 3]


def test_the_largest_that_fits_divides_the_share_and_leaves_room(make: Any) -> None:
    plan = make(batch={"sequences": 24})  # 12 rows a process
    decoder = decoder_of(plan.config.model)
    assert decoder is not None
    bytes_of_four = memory_need(decoder, Setting(1, "fp32", 2, 4, 3, 8)).peak.total
    for memory, fits in [(1.0001 * bytes_of_four / 0.9, 4), (0.9999 * bytes_of_four / 0.9, 3)]:
        hardware = {"device": "other", "memory_gb": memory / 1e9}
        document = memory_forecast(make(batch={"sequences": 24}, hardware=hardware))
        assert document is not None
        assert document.stages[1].largest_micro_sequences == fits


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_an_average_takes_four_bytes_of_each_parameter_that_a_device_updates(make: Any, stage: int) -> None:
    plans = make(), make(average={"ema": {}})
    off, on = (memory_forecast(plan).stages[stage] for plan in plans)
    parameters = decoder_of(plans[0].config.model).parameters
    share = parameters if stage == 0 else -(-parameters // 2)
    assert on.peak_bytes - off.peak_bytes == on.moments_bytes - off.moments_bytes == 4 * share


def test_where_there_is_none(make: Any) -> None:
    assert memory_forecast(make(hardware=None)) is None
    assert memory_forecast(make(model={"architecture": {"model_type": "unheard-of", "vocab_size": 9}})) is None


def test_the_smallest_group_holds_most(make: Any) -> None:
    document = memory_forecast(make(launch={"processes": 4, "resources": {"branch": {"processes": 2}}}))
    assert document is not None
    assert document.processes == 2
    hostfile = memory_forecast(make(launch={"launcher": "deepspeed", "hostfile": "hosts"}))
    assert hostfile is not None
    assert hostfile.processes == 2, "hardware.devices"


def parameters_of(plan: Plan) -> int:
    decoder = decoder_of(plan.config.model)
    assert decoder is not None
    return decoder.parameters


def test_offload_and_second_copies_are_in_the_forecast(make: Any) -> None:
    both = {"offload_optimizer": {"device": "cpu"}, "offload_param": {"device": "cpu"}}
    plain, offloaded, copied = (
        make(engine={"precision": "bf16", "zero_stage": 3, "deepspeed": {"zero_optimization": zero}})
        for zero in ({}, both, {"zero_hpz_partition_size": 2})
    )
    here, there, twice = (memory_forecast(plan) for plan in (plain, offloaded, copied))
    assert here is not None
    assert there is not None
    assert twice is not None
    parameters = parameters_of(plain)
    assert there.own_stage.master_bytes == there.own_stage.moments_bytes == 0
    assert there.own_stage.host_bytes == 18 * -(-parameters // 2)  # 2 + 4 + 8 + 4 bytes of each of its parameters.
    assert there.stages[1].host_bytes == 16 * -(-parameters // 2)
    assert here.own_stage.host_bytes is None
    assert twice.own_stage.weights_bytes == here.own_stage.weights_bytes + 2 * -(-parameters // 2)
    assert twice.stages[2] == here.stages[2]
    assert offloaded_bytes(plain) == 0
    assert offloaded_bytes(offloaded) == 2 * there.own_stage.host_bytes
    assert any("to the memory of its host" in note for note in memory_notes(there))
    assert not any("to the memory of its host" in note for note in memory_notes(here))


def test_stage_1_in_bf16_has_a_buffer_for_sums_unless_the_run_was_begun_without(make: Any) -> None:
    plan, old = (make(batch={"sequences": 8, "micro_sequences": 2}, engine={"precision": "bf16"}) for _ in range(2))
    old.__dict__["conventions"] = {"padding": "none"}
    new, before = memory_forecast(plan), memory_forecast(old)
    assert new is not None
    assert before is not None
    parameters = parameters_of(plan)
    assert new.own_stage.summed_bytes == 4 * parameters
    assert before.own_stage.summed_bytes is new.stages[2].summed_bytes is None
    assert new.stages[2] == before.stages[2]
    assert any("sums of the micro-batches in fp32" in note for note in memory_notes(new))
    assert not any("sums of the micro-batches" in note for note in memory_notes(before))
