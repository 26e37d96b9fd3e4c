"""Forecast of the peak memory of one device during a step, from the config alone. Imports no torch.

Weights, gradients and optimizer state by ZeRO stage follow Rajbhandari et al., ZeRO: Memory Optimizations Toward
Training Trillion Parameter Models, SC 2020, section 3. Added to them are the allocations of DeepSpeed 0.19.8 with the
settings of lrps, read from its stage_1_and_2.py and stage3.py and confirmed with tools/measure_memory.py:

- Stages 1 to 3 have an fp32 master copy of the weights, also when they train in fp32. Stage 0 has none and trains in
  fp32 only.
- Stage 1 keeps all gradients, in the precision of the weights, until the backward pass of the last micro-batch ends.
  During backward it also has a bucket for all parameters, but for no more than 5e8 elements. In bf16 with several
  micro-batches lrps sums the gradients in a buffer of fp32 instead, which exists for good, and the bucket and the
  gradients in bf16 exist only at the end of the step.
- On several GPUs buckets have at most 2e8 elements, and there are two of them at stages 1 and 2, which overlap.
- Stages 2 and 3 reduce gradients bucket by bucket: they have a bucket and the flat copy that is sent. They sum
  gradients in fp32.
- The optimizer step of stages 1 and 2 flattens the gradients of the partition and copies them to fp32 if needed.
- Stage 3 keeps its bucket and its fp32 gradients between steps. It keeps gathered weights while their next use is less
  than 1e9 elements away, which at the end of a forward pass are the last 5e8. Tensors of up to 1e5 elements stay
  gathered. A second copy of all weights (ZeRO++) is divided among the ranks that have it together.
- With sequence parallelism a device has its part of the tokens of a row, but a mask of documents for whole rows. Its
  attention saves its result a second time, since it is exchanged.
- An offloaded optimizer has its weights, states and gradients in the memory of the host, and so have offloaded weights.

The forecast leaves out everything that is no tensor of the step (the context of a GPU, NCCL's buffers, fragmentation,
workspaces of kernels), evaluation, and the savings of torch.compile. HEADROOM is meant for these.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from math import ceil

from lrps.config.hardware import HardwareConfig
from lrps.paths.buckets import Buckets, default_buckets
from lrps.paths.decoder import BYTES, FP32, Decoder, Precision
from lrps.paths.optimizer_states import MOMENTS, OptimizerState

HEADROOM = 0.1
"""Share of the device that a proposal leaves free for omissions and errors of the forecast."""
DEVICE_GB = {"A100": 80.0, "H100": 80.0, "H100-PCIe": 80.0, "H200": 141.0, "H20": 96.0, "B200": 180.0}
"""Memory of one device in GB of 1e9 bytes, from the makers' data sheets; torch reports a few per cent more."""
_SUB_GROUP = 10**9
"""Number of elements that stage 3 updates at once: DeepSpeed's sub_group_size."""
_GATHERED = 5 * 10**8
"""Number of elements that stage 3 has gathered at the end of a forward pass."""
_PREFETCHED = 5 * 10**7
"""Number of elements that stage 3 fetches ahead: DeepSpeed's prefetch_bucket_size."""
_STAYS_GATHERED = 10**5
"""Largest tensor that stage 3 never partitions: DeepSpeed's param_persistence_threshold."""
_CHUNK = 2**25
"""Number of logits that the chunked loss computes at a time: lrps.engine.losses.cross_entropy.CHUNK_ELEMENTS."""


@dataclass(frozen=True)
class Setting:
    """Settings of a training step that its memory depends on."""

    zero_stage: int
    precision: Precision
    devices: int
    """Number of devices, one for each process."""
    rows: int
    """Number of rows of a micro-batch on one device."""
    micro_batches: int
    """Number of micro-batches of a step on one device."""
    length: int
    """Number of tokens in a row."""
    checkpointing: bool = False
    """Whether layers save only their inputs and are computed again in the backward pass (activation checkpointing)."""
    attention: str | None = None
    """Attention kernel; None is sdpa."""
    masked: bool = False
    """Whether attention is within documents."""
    chunked: bool = True
    """Whether the loss is computed in chunks, without the logits of all tokens at once."""
    gloo: bool = False
    """Whether collectives run on CPUs, where a reduce-scatter copies its input."""
    states: tuple[OptimizerState, ...] = MOMENTS
    """States of the optimizer, and the average of the weights if there is one."""
    buckets: Buckets | None = None
    """Buckets that are not the default ones."""
    bf16_sums: bool = False
    """Whether stage 1 sums the gradients of micro-batches in bf16, as in runs begun before there was a buffer."""
    offload_optimizer: bool = False
    """Whether the optimizer's weights and states are in the memory of the host; never at stage 0."""
    offload_weights: bool = False
    """Whether the partitioned weights are in the memory of the host; at stage 3 only."""
    second_copy: int = 1
    """Number of ranks that have a second copy of all weights among them; 1 for none; at stage 3 only."""
    parts: int = 1
    """Number of devices that share a row (sequence parallelism)."""

    @property
    def sums_gradients(self) -> bool:
        """Whether lrps has a buffer of fp32 in which it sums the gradients of micro-batches."""
        several = self.zero_stage == 1 and self.precision == "bf16" and self.micro_batches > 1
        return several and not self.bf16_sums

    @property
    def offloads_optimizer(self) -> bool:
        """Whether the optimizer's weights and states are in the memory of the host at this stage."""
        return self.offload_optimizer and self.zero_stage > 0

    @property
    def offloads_weights(self) -> bool:
        """Whether the weights are in the memory of the host at this stage."""
        return self.offload_weights and self.zero_stage == 3

    @property
    def tokens(self) -> int:
        """Number of tokens of a micro-batch on one device."""
        return self.rows * self.length // self.parts


@dataclass(frozen=True)
class Memory:
    """Memory of one device at one moment, in bytes."""

    weights: int = 0
    """Weights, including those that ZeRO stage 3 has gathered."""
    gradients: int = 0
    master: int = 0
    """fp32 master copy of the weights."""
    moments: int = 0
    """States of the optimizer, and the average of the weights if there is one."""
    buckets: int = 0
    """Buffers that gradients are copied to for communication."""
    activations: int = 0
    logits: int = 0
    """Logits and the tensors that the loss computes from them."""

    @property
    def total(self) -> int:
        """Sum of all parts."""
        return sum(getattr(self, part.name) for part in fields(self))

    def plus(self, **parts: float) -> Memory:
        """Return the memory with more bytes in the given parts."""
        return replace(self, **{name: getattr(self, name) + ceil(more) for name, more in parts.items()})


@dataclass(frozen=True)
class MemoryNeed:
    """Memory at the moments of a step at which it can be largest."""

    loss: Memory
    """Memory when the gradient of the logits is computed."""
    backward: Memory
    """Memory when the backward pass begins: all saved activations, and the first gradients."""
    first_layer: Memory
    """Memory when the backward pass is in the first layer: nearly all gradients, and the activations of one layer."""
    reduction: Memory
    """Memory when gradients are sent."""
    step: Memory
    """Memory during the optimizer's step."""

    def moments(self) -> Iterator[tuple[str, Memory]]:
        """Yield (name of a moment, its memory)."""
        return ((moment.name, getattr(self, moment.name)) for moment in fields(self))

    @property
    def fullest(self) -> str:
        """Name of the moment with the most memory."""
        return max(self.moments(), key=lambda moment: moment[1].total)[0]

    @property
    def peak(self) -> Memory:
        """Memory at the fullest moment."""
        peak: Memory = getattr(self, self.fullest)
        return peak


def device_bytes(hardware: HardwareConfig) -> int | None:
    """Return the bytes of memory of one device; None if they are not known."""
    known = {name.lower(): gigabytes for name, gigabytes in DEVICE_GB.items()}
    gigabytes = hardware.memory_gb or known.get(hardware.device.lower())
    return None if gigabytes is None else int(gigabytes * 10**9)


def memory_need(decoder: Decoder, setting: Setting) -> MemoryNeed:
    """Return the forecast for the rank with the most memory, for any step but the first."""
    size, bucket = BYTES[setting.precision], _bucket(decoder, setting)
    filled = at_rest(decoder, setting).plus(**_of_earlier_micro_batches(decoder, setting))
    gathered = filled.plus(weights=_gathered(decoder, setting))
    kept = _kept(decoder, setting)
    first_bucket = bucket if setting.zero_stage in (1, 2) and not setting.sums_gradients else 0
    waiting = setting.zero_stage == 1 and setting.micro_batches > 1  # The bucket of the previous micro-batch.
    norm = setting.tokens * decoder.kept_by_norm(decoder.width, setting.precision)
    deep = setting.tokens * max(
        decoder.kept_by_norm(decoder.width, setting.precision) + decoder.passing_through_norm(setting.precision),
        decoder.passing_through_mlp(setting.precision)
        + (_kept_by_layer(decoder, setting) if setting.checkpointing else 0),
    )
    shallow = _kept_by_layer(decoder, setting) + decoder.passing_through_mlp(setting.precision)
    whole = size * (decoder.parameters - sum(decoder.layer_tensors))
    return MemoryNeed(
        loss=gathered.plus(activations=kept + norm, logits=_of_loss(decoder, setting), buckets=first_bucket * waiting),
        backward=gathered.plus(activations=kept + deep, gradients=size * decoder.head, buckets=first_bucket),
        first_layer=filled.plus(
            activations=setting.tokens * (shallow + size * decoder.width),
            gradients=whole if setting.zero_stage < 2 and setting.micro_batches == 1 else size * decoder.head,
            buckets=first_bucket,
        ),
        reduction=_reduction(decoder, setting, filled, kept),
        step=at_rest(decoder, setting).plus(gradients=_of_step(decoder, setting)),
    )


def at_rest(decoder: Decoder, setting: Setting) -> Memory:
    """Return the memory between two steps."""
    stage, size, all_of_it = setting.zero_stage, BYTES[setting.precision], decoder.parameters
    share = ceil(all_of_it / setting.devices)
    if stage == 0:
        return Memory(weights=size * all_of_it, moments=_of_states(decoder, setting, 1))
    here = 0 if setting.offloads_optimizer else share
    moments = 0 if setting.offloads_optimizer else _of_states(decoder, setting, setting.devices)
    memory = Memory(weights=size * all_of_it, master=FP32 * here, moments=moments)
    if stage < 3:
        return replace(memory, gradients=FP32 * all_of_it if setting.sums_gradients else 0)
    small = decoder.parameters_in_tensors_up_to(_STAYS_GATHERED) if setting.devices > 1 else 0
    second = ceil(all_of_it / setting.second_copy) if setting.second_copy > 1 else 0
    weights = (0 if setting.offloads_weights else share) + small + second
    return replace(memory, weights=size * weights, gradients=FP32 * here, buckets=_bucket(decoder, setting))


def host_bytes(decoder: Decoder, setting: Setting) -> int:
    """Return the bytes that one process has in the memory of the host because they are offloaded.

    With an offloaded optimizer these are the fp32 weights, its states and the fp32 gradients; stages 1 and 2 have a
    second buffer for several micro-batches. Copies for asynchronous saves are not included.
    """
    share = ceil(decoder.parameters / setting.devices)
    of_weight = BYTES[setting.precision] if setting.offloads_weights else 0
    if not setting.offloads_optimizer:
        return of_weight * share
    sums = FP32 if setting.zero_stage < 3 and setting.micro_batches > 1 else 0
    return (of_weight + FP32 + FP32 + sums) * share + _of_states(decoder, setting, setting.devices)


def _of_states(decoder: Decoder, setting: Setting, devices: int) -> int:
    """Return the bytes of the optimizer's states on one of the devices that divide them.

    Stages 1 and 2 have states of whole parameters twice, because a step may be dropped that has changed them, and all
    of a matrix of which a device has a part.
    """
    total = 0
    for state in setting.states:
        elements = ceil(decoder.counted.of(state.applies_to) / devices)
        if state.kind == "whole" and setting.zero_stage in (1, 2):
            elements = 2 * (elements + (decoder.counted.largest_matrix if devices > 1 else 0))
        total += state.bytes * elements
    return total


def _buckets(decoder: Decoder, setting: Setting) -> Buckets:
    """Return the buckets of a process."""
    return setting.buckets or default_buckets(decoder.parameters, setting.devices, not setting.gloo)


def _bucket(decoder: Decoder, setting: Setting) -> int:
    """Return the bytes of all buckets for gradients: stages 1 and 2 have two where communication overlaps."""
    buckets = _buckets(decoder, setting)
    several = 2 if buckets.overlap and setting.zero_stage in (1, 2) else 1
    return several * BYTES[setting.precision] * buckets.reduced


def _of_earlier_micro_batches(decoder: Decoder, setting: Setting) -> dict[str, int]:
    if setting.micro_batches == 1 or setting.zero_stage == 3 or setting.sums_gradients:
        return {}
    if setting.zero_stage == 2 and setting.offloads_optimizer:
        return {}
    if setting.zero_stage == 2:
        return {"gradients": FP32 * ceil(decoder.parameters / setting.devices)}
    return {"gradients": BYTES[setting.precision] * decoder.parameters}


def _gathered(decoder: Decoder, setting: Setting) -> int:
    """Return the bytes of weights that stage 3 has gathered at the end of a forward pass, without the small tensors."""
    if setting.zero_stage < 3 or setting.devices == 1:
        return 0
    partitioned = decoder.parameters - decoder.parameters_in_tensors_up_to(_STAYS_GATHERED)
    fetching = min(_PREFETCHED, max(0, partitioned - _GATHERED))
    return BYTES[setting.precision] * (min(partitioned, _GATHERED) + 2 * fetching)


def _kept_by_layer(decoder: Decoder, setting: Setting) -> int:
    kept = decoder.kept_by_layer(setting.precision, setting.length, setting.attention, setting.masked)
    return kept + (BYTES[setting.precision] * decoder.query if setting.parts > 1 else 0)


def _kept(decoder: Decoder, setting: Setting) -> int:
    """Return the bytes of activations that all layers save; with activation checkpointing, those of their inputs."""
    size = BYTES[setting.precision]
    of_layer = size * decoder.width if setting.checkpointing else _kept_by_layer(decoder, setting)
    # Each device has the mask of whole rows.
    mask = setting.parts * setting.length if setting.masked and setting.attention in (None, "sdpa") else 0
    return setting.tokens * (decoder.layers * of_layer + mask)


def _of_loss(decoder: Decoder, setting: Setting) -> int:
    """Return the bytes of logits and of the tensors that the loss computes from them.

    Without chunks these are the log-softmax of all logits and two gradients of them, in fp32. With chunks they are the
    logits of two chunks, or those of one chunk with its part of the gradient of the output matrix, which is summed in
    fp32.
    """
    size, logits = BYTES[setting.precision], setting.tokens * decoder.vocabulary
    if not setting.chunked or logits <= _CHUNK:
        return 3 * FP32 * logits
    # A chunk's logits, and their gradient if it is rounded, are not freed before the next chunk's logits exist.
    of_logit = FP32 if setting.precision == "fp32" else FP32 + size
    chunk = max(of_logit * min(logits, 2 * _CHUNK), of_logit * _CHUNK + size * decoder.head)
    return chunk + FP32 * decoder.head + size * setting.tokens * decoder.width


def _reduction(decoder: Decoder, setting: Setting, filled: Memory, kept: int) -> Memory:
    stage, size, bucket = setting.zero_stage, BYTES[setting.precision], _bucket(decoder, setting)
    share = ceil(decoder.parameters / setting.devices)
    late = setting.micro_batches > 1
    # The gradients of the embedding and of the output matrix, and their sum.
    tied = size * decoder.head * (2 + late) if decoder.tied else 0
    if stage == 0:
        return filled.plus(gradients=0 if late else size * decoder.parameters, buckets=bucket)
    if stage == 1:
        if setting.sums_gradients:
            return filled.plus(gradients=size * decoder.parameters, buckets=bucket)
        return filled.plus(gradients=tied + (0 if late else size * decoder.parameters), buckets=bucket)
    # In a model larger than a bucket, the first bucket is full before the backward pass ends.
    left = max(0.0, 1 - _buckets(decoder, setting).reduced / decoder.parameters)
    flat = max(bucket, tied)
    if stage == 3:
        cast = 0 if setting.precision == "fp32" else FP32 * bucket // size // setting.devices
        copied = bucket if setting.gloo else 0
        extra = max(copied, cast) if setting.devices == 1 else copied + cast
        return filled.plus(weights=left * _gathered(decoder, setting), buckets=flat + extra, activations=left * kept)
    if setting.offloads_optimizer:
        summed = 2 * FP32 * decoder.largest_tensor
    elif setting.precision == "bf16":
        summed = FP32 * decoder.largest_tensor + (0 if late else FP32 * share)
    else:
        summed = max(0, size * share - (flat if left == 0 else 0))
    return filled.plus(gradients=summed, buckets=bucket + flat, activations=left * kept)


def _of_step(decoder: Decoder, setting: Setting) -> int:
    """Return the bytes of gradients during the optimizer's step, without those that stage 3 has at rest.

    These are the gradients of the partition, their flat copy and its fp32 copy.
    """
    size, share = BYTES[setting.precision], ceil(decoder.parameters / setting.devices)
    if setting.zero_stage == 0:
        return size * decoder.parameters
    if setting.offloads_optimizer:
        return 0
    if setting.zero_stage == 3:
        return FP32 * min(share, _SUB_GROUP)
    if setting.precision == "fp32":
        return 2 * FP32 * share
    return (2 * size + FP32) * share if setting.zero_stage == 1 else FP32 * share
