"""The memory forecast: its laws, values calculated by hand, and one real engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lrps.config.hardware import HardwareConfig
from lrps.config.models import Config, EngineConfig, ModelConfig
from lrps.paths.buckets import LARGEST_BUCKET, OVERLAPPED_BUCKET, Buckets, buckets_of
from lrps.paths.decoder import BYTES, Decoder, decoder_of
from lrps.paths.memory import Memory, MemoryNeed, Setting, at_rest, device_bytes, host_bytes, memory_need

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 32000,
    "hidden_size": 2048,
    "intermediate_size": 5504,
    "num_hidden_layers": 22,
    "num_attention_heads": 16,
}


def decoder(**changes: Any) -> Decoder:
    made = decoder_of(ModelConfig(architecture={**LLAMA, **changes}))
    assert made is not None
    return made


DECODERS = st.builds(
    lambda layers, width, vocabulary, tied: decoder(
        num_hidden_layers=layers, hidden_size=64 * width, vocab_size=vocabulary, tie_word_embeddings=tied
    ),
    st.integers(1, 60),
    st.integers(1, 64),
    st.integers(100, 200_000),
    st.booleans(),
)
SETTINGS = st.builds(
    Setting,
    zero_stage=st.integers(0, 3),
    precision=st.sampled_from(["fp32", "bf16"]),
    devices=st.integers(1, 1024),
    rows=st.integers(1, 64),
    micro_batches=st.integers(1, 8),
    length=st.integers(2, 8192),
    checkpointing=st.booleans(),
    attention=st.sampled_from([None, "eager", "sdpa", "flash_attention_2"]),
    masked=st.booleans(),
    chunked=st.booleans(),
    gloo=st.booleans(),
    bf16_sums=st.booleans(),
)


def every_moment(found: MemoryNeed) -> list[int]:
    return [memory.total for _, memory in found.moments()]


@given(DECODERS, SETTINGS)
def test_the_peak_is_the_fullest_moment_and_the_sum_of_its_parts(model: Decoder, setting: Setting) -> None:
    found = memory_need(model, setting)
    assert found.peak.total == max(every_moment(found))
    for _, memory in found.moments():
        parts = [getattr(memory, part.name) for part in fields(Memory)]
        assert memory.total == sum(parts)
        assert min(parts) >= 0
        rest = at_rest(model, setting)
        assert all(getattr(memory, part.name) >= getattr(rest, part.name) for part in fields(Memory))


@given(DECODERS, SETTINGS, st.integers(1, 32))
def test_more_rows_hold_more(model: Decoder, setting: Setting, more: int) -> None:
    fewer, greater = memory_need(model, setting), memory_need(model, replace(setting, rows=setting.rows + more))
    assert greater.peak.total >= fewer.peak.total
    assert greater.backward.activations > fewer.backward.activations


@given(DECODERS, SETTINGS, st.integers(2, 8))
def test_more_devices_hold_less_each(model: Decoder, setting: Setting, times: int) -> None:
    assume(setting.devices > 1)  # One device gathers nothing.
    more = replace(setting, devices=setting.devices * times)
    assert memory_need(model, more).peak.total <= memory_need(model, setting).peak.total


@given(DECODERS, SETTINGS)
def test_memory_between_steps_falls_with_the_stage(model: Decoder, setting: Setting) -> None:
    """The bucket and the gradients that stage 3 keeps between steps, and its small gathered tensors, do not count."""
    rests = [at_rest(model, replace(setting, zero_stage=stage)) for stage in (1, 2, 3)]
    small = 4 * model.parameters_in_tensors_up_to(10**5)
    states = [rest.weights + rest.master + rest.moments for rest in rests]
    assert states[0] == states[1] >= states[2] - small
    if setting.devices == 1:
        assert states[1] == states[2]


@given(DECODERS, SETTINGS)
def test_the_gradients_in_backward_fall_with_the_stage(model: Decoder, setting: Setting) -> None:
    """With two or more devices, stages 2 and 3 sum a share in fp32, and stage 1 keeps all of them in half of that."""
    assume(setting.devices > 1)
    found = [memory_need(model, replace(setting, zero_stage=stage, micro_batches=4)).loss for stage in (1, 2, 3)]
    one, two, three = (memory.gradients for memory in found)
    assert one >= two - 4
    assert two == three
    assert found[0].activations == found[1].activations == found[2].activations


@given(DECODERS, SETTINGS, st.sampled_from([2, 4]))
def test_devices_that_share_rows_hold_their_part_of_the_activations(
    model: Decoder, setting: Setting, parts: int
) -> None:
    plain = replace(setting, length=16 * setting.length, attention="sdpa", masked=False)
    whole, part = memory_need(model, plain), memory_need(model, replace(plain, parts=parts))
    assert part.loss.logits <= whole.loss.logits
    assert at_rest(model, replace(plain, parts=parts)) == at_rest(model, plain)
    exchanged = model.layers * BYTES[plain.precision] * model.query * plain.tokens
    assert part.backward.activations <= -(-(whole.backward.activations + exchanged) // parts) + 8
    # Masks of documents are those of whole rows.
    masked = [memory_need(model, replace(plain, parts=n, masked=True)).backward.activations for n in (1, parts)]
    assert masked[1] > plain.rows * plain.length**2


@given(DECODERS, SETTINGS)
def test_switches_that_save(model: Decoder, setting: Setting) -> None:
    plain = replace(setting, checkpointing=False, chunked=False, attention="sdpa", masked=False)
    peak = memory_need(model, plain)
    assert memory_need(
        model, replace(plain, chunked=True)
    ).loss.logits <= peak.loss.logits + 40 * 2**25 + 8 * model.head + (4 * plain.tokens * model.width)
    assert memory_need(model, replace(plain, attention="eager")).peak.total >= peak.peak.total
    assert memory_need(model, replace(plain, checkpointing=True)).loss.activations <= peak.loss.activations


def test_states_by_hand() -> None:
    """Rajbhandari et al., figure 1: 2 + 2 + 12 bytes a parameter, divided among 64 devices stage by stage."""
    model = decoder(num_hidden_layers=32, hidden_size=4096, intermediate_size=11008, num_attention_heads=32)
    share = -(-model.parameters // 64)
    setting = Setting(1, "bf16", 64, 1, 2, 2048, bf16_sums=True)
    assert at_rest(model, setting) == Memory(weights=2 * model.parameters, master=4 * share, moments=8 * share)
    assert memory_need(model, setting).loss.gradients == 2 * model.parameters
    own_sums = replace(setting, bf16_sums=False)
    assert at_rest(model, own_sums) == replace(at_rest(model, setting), gradients=4 * model.parameters)
    assert memory_need(model, own_sums).loss.gradients == 4 * model.parameters
    assert memory_need(model, own_sums).loss.buckets == 0
    assert memory_need(model, own_sums).reduction.gradients == 6 * model.parameters
    assert memory_need(model, replace(own_sums, micro_batches=1)) == memory_need(
        model, replace(setting, micro_batches=1)
    )
    three = at_rest(model, replace(setting, zero_stage=3))
    assert three.weights == pytest.approx(2 * share, rel=0.01)
    assert (three.gradients, three.master, three.moments) == (4 * share, 4 * share, 8 * share)
    assert three.buckets == 2 * OVERLAPPED_BUCKET
    assert at_rest(model, replace(setting, zero_stage=3, gloo=True)).buckets == 2 * LARGEST_BUCKET
    assert memory_need(model, replace(setting, zero_stage=2)).backward.buckets == 2 * 2 * OVERLAPPED_BUCKET
    alone = Setting(0, "fp32", 1, 1, 1, 2048)
    assert at_rest(model, alone) == Memory(weights=4 * model.parameters, moments=8 * model.parameters)


@given(DECODERS, SETTINGS)
def test_what_is_offloaded_leaves_the_device_for_the_host(model: Decoder, setting: Setting) -> None:
    assume(setting.zero_stage > 0)
    here, there = setting, replace(setting, offload_optimizer=True, offload_weights=True)
    share = -(-model.parameters // setting.devices)
    assert host_bytes(model, here) == 0
    before, after = at_rest(model, here), at_rest(model, there)
    assert after.master + after.moments == 0
    assert host_bytes(model, there) >= before.total - after.total > 0
    assert host_bytes(model, there) >= 16 * share


@given(DECODERS, SETTINGS, st.integers(2, 8))
def test_a_second_copy_of_the_weights_is_divided_among_the_ranks_that_have_it(
    model: Decoder, setting: Setting, ranks: int
) -> None:
    three = replace(setting, zero_stage=3)
    more = at_rest(model, replace(three, second_copy=ranks)).weights - at_rest(model, three).weights
    size = 2 if three.precision == "bf16" else 4
    assert more == size * -(-model.parameters // ranks)


def test_given_buckets_are_allocated_as_they_are() -> None:
    def buckets(processes: int, on_gpu: bool, **zero: Any) -> Buckets:
        return buckets_of(EngineConfig(deepspeed={"zero_optimization": zero}), 10**9, processes, on_gpu)

    assert buckets(1, True) == buckets(8, False) == Buckets(LARGEST_BUCKET, LARGEST_BUCKET, False)
    assert buckets(8, True) == Buckets(2 * 10**8, 2 * 10**8, True)
    assert buckets(8, True, reduce_bucket_size=4 * 10**9, overlap_comm=False) == Buckets(4 * 10**9, 2 * 10**8, False)
    assert buckets(8, False, overlap_comm=True, allgather_bucket_size=10) == Buckets(LARGEST_BUCKET, 10, True)
    assert not buckets(8, True, contiguous_gradients=False).overlap
    setting = Setting(2, "bf16", 8, 1, 1, 64, buckets=Buckets(4 * 10**9, 0, True))
    assert memory_need(decoder(), setting).backward.buckets == 2 * 2 * 4 * 10**9


def test_the_chunk_is_that_of_the_engine() -> None:
    from lrps.engine.losses import cross_entropy
    from lrps.paths import memory

    assert cross_entropy.CHUNK_ELEMENTS == memory._CHUNK


def test_the_memory_of_a_device() -> None:
    assert device_bytes(HardwareConfig(device="h100")) == 80 * 10**9
    assert device_bytes(HardwareConfig(device="A100", memory_gb=40)) == 40 * 10**9
    assert device_bytes(HardwareConfig(device="TPU")) is None


SMALL_LLAMA = {**LLAMA, "vocab_size": 1000, "hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 3}
SMALL_LLAMA |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64}


@pytest.mark.parametrize("stage", [1, 2])
def test_a_real_engine_holds_what_was_forecast(
    make_config: Callable[..., Config], repository: Path, monkeypatch: pytest.MonkeyPatch, stage: int
) -> None:
    monkeypatch.syspath_prepend(str(repository / "tools"))
    from live_bytes import LiveBytes

    from lrps.engine.deepspeed_engine import Engine, process_group
    from lrps.engine.model import build_model
    from lrps.store.conventions import NEWEST

    config = make_config(
        model={"architecture": SMALL_LLAMA},
        data={"root": "none", "sequence_length": 64, "versions": [{"name": "v1", "tokens": 10**6}]},
        batch={"sequences": 8, "micro_sequences": 4},
        engine={"zero_stage": stage, "precision": "bf16"},
    )
    rows = np.random.default_rng(0).integers(0, 1000, (8, 64))
    with process_group(), LiveBytes() as live:
        engine = Engine(config, build_model(config.model, 0), conventions=NEWEST)
        engine.train_step(rows, lr=1e-3, seed=0, step=0)
        live.reset()
        engine.train_step(rows, lr=1e-3, seed=0, step=1)
        measured = live.peak
        engine.close()
    setting = Setting(stage, "bf16", 1, 4, 2, 64, gloo=True)
    model = decoder_of(config.model)
    assert model is not None
    assert memory_need(model, setting).peak.total == pytest.approx(measured, rel=0.02)
