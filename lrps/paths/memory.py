"""What one device holds at the fullest moment of a step: a forecast from the config alone. Imports no torch.

Weights, gradients and optimizer state by ZeRO stage: Rajbhandari et al., ZeRO: Memory Optimizations Toward Training
Trillion Parameter Models, SC 2020, section 3; and on top what DeepSpeed 0.19.8 really allocates, read from its
stage_1_and_2.py and stage3.py and seen by measuring (tools/measure_memory.py), with lrps's settings:

- every stage from 1 on has an fp32 master copy, in fp32 too; stage 0 has none and trains in fp32 only;
- stage 1 keeps all gradients until the last micro-batch's backward is over, in the precision of the weights; in
  backward it has a bucket beside them, of all parameters but no more than 5e8 elements;
- stages 2 and 3 reduce gradients bucket by bucket: a bucket and the flat copy that is sent. They sum them in fp32;
- the step of stages 1 and 2 flattens the partition's gradients, and makes an fp32 copy of them where they are not;
- stage 3 keeps its bucket and its fp32 gradients for good, and the weights that it gathered as long as their next use
  is less than 1e9 elements away: at the end of a forward pass the last 5e8. Tensors up to 1e5 elements stay gathered.

Left out: what is no tensor of the step. A GPU's context, NCCL's buffers, the allocator's fragmentation, the kernels'
workspaces; evaluation; torch.compile, which keeps less. So leave room: HEADROOM.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from math import ceil

from lrps.config.hardware import HardwareConfig
from lrps.paths.decoder import BYTES, FP32, Decoder, Precision

HEADROOM = 0.1
"""Share of the device that a proposal leaves free, for what the forecast leaves out and is wrong by."""
DEVICE_GB = {"A100": 80.0, "H100": 80.0, "H100-PCIe": 80.0, "H200": 141.0, "H20": 96.0, "B200": 180.0}
"""Memory of one device as its maker names it, taken as 1e9 bytes: torch finds some per cent more."""
LARGEST_BUCKET = 5 * 10**8
"""Elements: lrps's reduce_bucket_size, unless the model is smaller."""
_SUB_GROUP = 10**9
_GATHERED = 5 * 10**8
_PREFETCHED = 5 * 10**7
_STAYS_GATHERED = 10**5
_CHUNK = 2**25
"""Logits at a time: lrps.engine.cross_entropy.CHUNK_ELEMENTS."""


@dataclass(frozen=True)
class Setting:
    """How one step is trained."""

    zero_stage: int
    precision: Precision
    devices: int
    rows: int
    """Of a micro-batch, on one device."""
    micro_batches: int
    """Of a step, on one device."""
    length: int
    """Tokens in a row."""
    checkpointing: bool = False
    attention: str | None = None
    masked: bool = False
    """Attention within documents."""
    chunked: bool = True
    """The loss without the logits of all tokens."""
    gloo: bool = False
    """Collectives on CPUs: their reduce-scatter copies its input."""

    @property
    def tokens(self) -> int:
        """Of a micro-batch."""
        return self.rows * self.length


@dataclass(frozen=True)
class Memory:
    """Bytes of one device at one moment."""

    weights: int = 0
    """With those that ZeRO-3 has gathered."""
    gradients: int = 0
    master: int = 0
    """fp32 copy of the weights."""
    moments: int = 0
    buckets: int = 0
    """What gradients are copied to for communication."""
    activations: int = 0
    logits: int = 0
    """And what the loss makes of them."""

    @property
    def total(self) -> int:
        return sum(getattr(self, part.name) for part in fields(self))

    def plus(self, **parts: float) -> Memory:
        return replace(self, **{name: getattr(self, name) + ceil(more) for name, more in parts.items()})


@dataclass(frozen=True)
class Forecast:
    """The moments of a step that can be its fullest."""

    loss: Memory
    """The logits' gradient is made."""
    backward: Memory
    """The first gradients are there, and all that the layers kept."""
    first_layer: Memory
    """Backward has come to it: nearly all gradients, one layer's activations."""
    reduction: Memory
    """Gradients are sent."""
    step: Memory
    """The optimizer's."""

    def moments(self) -> Iterator[tuple[str, Memory]]:
        return ((moment.name, getattr(self, moment.name)) for moment in fields(self))

    @property
    def fullest(self) -> str:
        return max(self.moments(), key=lambda moment: moment[1].total)[0]

    @property
    def peak(self) -> Memory:
        peak: Memory = getattr(self, self.fullest)
        return peak


def device_bytes(hardware: HardwareConfig) -> int | None:
    """Memory of one device; None when it is not known."""
    known = {name.lower(): gigabytes for name, gigabytes in DEVICE_GB.items()}
    gigabytes = hardware.memory_gb or known.get(hardware.device.lower())
    return None if gigabytes is None else int(gigabytes * 10**9)


def forecast(decoder: Decoder, setting: Setting) -> Forecast:
    """What a step that is not the first one holds, of the rank that holds most."""
    size, bucket = BYTES[setting.precision], _bucket(decoder, setting)
    filled = at_rest(decoder, setting).plus(**_of_earlier_micro_batches(decoder, setting))
    gathered = filled.plus(weights=_gathered(decoder, setting))
    kept = _kept(decoder, setting)
    first_bucket = bucket if setting.zero_stage in (1, 2) else 0
    waiting = setting.zero_stage == 1 and setting.micro_batches > 1  # The bucket of the micro-batch before.
    norm = setting.tokens * decoder.kept_by_norm(decoder.width, setting.precision)
    deep = setting.tokens * max(
        decoder.kept_by_norm(decoder.width, setting.precision) + decoder.passing_through_norm(setting.precision),
        decoder.passing_through_mlp(setting.precision)
        + (_kept_by_layer(decoder, setting) if setting.checkpointing else 0),
    )
    shallow = _kept_by_layer(decoder, setting) + decoder.passing_through_mlp(setting.precision)
    whole = size * (decoder.parameters - sum(decoder.layer_tensors))
    return Forecast(
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
    """Between two steps."""
    stage, size, all_of_it = setting.zero_stage, BYTES[setting.precision], decoder.parameters
    share = ceil(all_of_it / setting.devices)
    if stage == 0:
        return Memory(weights=size * all_of_it, moments=2 * FP32 * all_of_it)
    memory = Memory(weights=size * all_of_it, master=FP32 * share, moments=2 * FP32 * share)
    if stage < 3:
        return memory
    small = decoder.parameters_in_tensors_up_to(_STAYS_GATHERED) if setting.devices > 1 else 0
    return replace(memory, weights=size * (share + small), gradients=FP32 * share, buckets=_bucket(decoder, setting))


def _bucket(decoder: Decoder, setting: Setting) -> int:
    return BYTES[setting.precision] * min(LARGEST_BUCKET, decoder.parameters)


def _of_earlier_micro_batches(decoder: Decoder, setting: Setting) -> dict[str, int]:
    if setting.micro_batches == 1 or setting.zero_stage == 3:
        return {}
    if setting.zero_stage == 2:
        return {"gradients": FP32 * ceil(decoder.parameters / setting.devices)}
    return {"gradients": BYTES[setting.precision] * decoder.parameters}


def _gathered(decoder: Decoder, setting: Setting) -> int:
    """By ZeRO-3, at the end of a forward pass, beyond what always is."""
    if setting.zero_stage < 3 or setting.devices == 1:
        return 0
    partitioned = decoder.parameters - decoder.parameters_in_tensors_up_to(_STAYS_GATHERED)
    fetching = min(_PREFETCHED, max(0, partitioned - _GATHERED))
    return BYTES[setting.precision] * (min(partitioned, _GATHERED) + 2 * fetching)


def _kept_by_layer(decoder: Decoder, setting: Setting) -> int:
    return decoder.kept_by_layer(setting.precision, setting.length, setting.attention, setting.masked)


def _kept(decoder: Decoder, setting: Setting) -> int:
    """By all layers; with activation checkpointing, their inputs."""
    size = BYTES[setting.precision]
    of_layer = size * decoder.width if setting.checkpointing else _kept_by_layer(decoder, setting)
    mask = setting.length if setting.masked and setting.attention in (None, "sdpa") else 0
    return setting.tokens * (decoder.layers * of_layer + mask)


def _of_loss(decoder: Decoder, setting: Setting) -> int:
    """Logits are log-softmaxed in fp32, and two gradients of them are alive beside that. In chunks: those
    of two chunks, or of one with its part of the gradient of the output matrix, which is summed in fp32."""
    size, logits = BYTES[setting.precision], setting.tokens * decoder.vocabulary
    if not setting.chunked or logits <= _CHUNK:
        return 3 * FP32 * logits
    # The logits of a chunk live on, with their gradient where it is rounded, while those of the next one are made.
    of_logit = FP32 if setting.precision == "fp32" else FP32 + size
    chunk = max(of_logit * min(logits, 2 * _CHUNK), of_logit * _CHUNK + size * decoder.head)
    return chunk + FP32 * decoder.head + size * setting.tokens * decoder.width


def _reduction(decoder: Decoder, setting: Setting, filled: Memory, kept: int) -> Memory:
    stage, size, bucket = setting.zero_stage, BYTES[setting.precision], _bucket(decoder, setting)
    share = ceil(decoder.parameters / setting.devices)
    late = setting.micro_batches > 1
    # The embedding's gradient, the output matrix's and their sum.
    tied = size * decoder.head * (2 + late) if decoder.tied else 0
    if stage == 0:
        return filled.plus(gradients=0 if late else size * decoder.parameters, buckets=bucket)
    if stage == 1:
        return filled.plus(gradients=tied + (0 if late else size * decoder.parameters), buckets=bucket)
    # Of a model larger than a bucket, backward is in its midst when the first one is full.
    left = max(0.0, 1 - LARGEST_BUCKET / decoder.parameters)
    flat = max(bucket, tied)
    if stage == 3:
        cast = 0 if setting.precision == "fp32" else FP32 * bucket // size // setting.devices
        copied = bucket if setting.gloo else 0
        extra = max(copied, cast) if setting.devices == 1 else copied + cast
        return filled.plus(weights=left * _gathered(decoder, setting), buckets=flat + extra, activations=left * kept)
    if setting.precision == "bf16":
        summed = FP32 * decoder.largest_tensor + (0 if late else FP32 * share)
    else:
        summed = max(0, size * share - (flat if left == 0 else 0))
    return filled.plus(gradients=summed, buckets=bucket + flat, activations=left * kept)


def _of_step(decoder: Decoder, setting: Setting) -> int:
    """The gradients of the partition, the flat copy of them and its fp32 copy; beyond those of stage 3 at rest."""
    size, share = BYTES[setting.precision], ceil(decoder.parameters / setting.devices)
    if setting.zero_stage == 0:
        return size * decoder.parameters
    if setting.zero_stage == 3:
        return FP32 * min(share, _SUB_GROUP)
    if setting.precision == "fp32":
        return 2 * FP32 * share
    return (2 * size + FP32) * share if setting.zero_stage == 1 else FP32 * share
