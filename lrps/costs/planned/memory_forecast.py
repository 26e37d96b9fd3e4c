"""The memory that training needs on one device, by ZeRO stage: the forecast of `lrps plan`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lrps.base.document import UNLESS_NONE
from lrps.paths.buckets import buckets_of
from lrps.paths.decoder import FP32, Decoder, decoder_of
from lrps.paths.memory import HEADROOM, Setting, device_bytes, host_bytes, memory_need
from lrps.paths.optimizer_states import MAIN, optimizer_states
from lrps.plan.plan import Plan
from lrps.store.conventions import FP32_SUM, GRADIENT_SUM

LEFT_OUT = (
    "the GPU's context, NCCL's buffers, fragmentation, workspaces of kernels, evaluation, and what torch.compile saves"
)


@dataclass(frozen=True)
class StageMemory:
    """Memory of one device at the moment of a step at which most is allocated, with one ZeRO stage."""

    peak_bytes: int
    """Bytes allocated at that moment: the sum of the parts below."""
    fullest_moment: str
    """loss, backward, first_layer, reduction or step."""
    weights_bytes: int
    """Weights, those that ZeRO stage 3 has gathered among them."""
    gradients_bytes: int
    """Gradients."""
    master_bytes: int
    """fp32 copy of the weights."""
    moments_bytes: int
    """States of the optimizer, and the average of the main path's weights if it has one."""
    buckets_bytes: int
    """Buffers that gradients are copied to for communication."""
    activations_bytes: int
    """Activations kept for the backward pass."""
    logits_bytes: int
    """Logits and what the loss computes from them."""
    share_of_device: float | None
    """peak_bytes over the memory of the device; null if that is not known."""
    largest_micro_sequences: int | None
    """Largest batch.micro_sequences that fits; null if none fits or the memory of the device is not known."""
    host_bytes: int | None = field(default=None, metadata=UNLESS_NONE)
    """Bytes that one process offloads to the memory of the host; the key is absent without offload."""
    summed_bytes: int | None = field(default=None, metadata=UNLESS_NONE)
    """Bytes of gradients that are fp32 sums of micro-batches; the key is absent where there is no such buffer."""


@dataclass(frozen=True)
class MemoryForecast:
    """Memory of one device by ZeRO stage, computed from the config.

    Of several kinds of process groups it is for the smallest, whose devices hold most.
    """

    basis: str
    """modelled."""
    device: str
    """Name of the device in the config."""
    device_bytes: int | None
    """Memory of the device; null if it is not known."""
    headroom: float
    """Share of the device that a proposed micro-batch leaves free."""
    processes: int
    """Processes of the group, one a device."""
    rows_per_process: int
    """Sequences of a step on one device."""
    micro_sequences: int
    """Sequences of a micro-batch on one device."""
    zero_stage: int
    """ZeRO stage of the config."""
    stages: Mapping[int, StageMemory]
    """Forecast by ZeRO stage."""
    left_out: str
    """Memory that the forecast does not count."""

    @property
    def own_stage(self) -> StageMemory:
        """Forecast for the ZeRO stage of the config."""
        return self.stages[self.zero_stage]


def memory_forecast(plan: Plan) -> MemoryForecast | None:
    """Return the forecast; None without hardware, where the batch does not divide, and for a model of unknown shape."""
    config, decoder = plan.config, decoder_of(plan.config.model)
    if config.hardware is None or decoder is None:
        return None
    processes = _processes(plan)
    share, rest = divmod(config.batch.sequences, processes)
    rows = min(config.batch.micro_sequences or share, share)
    if rest or not share or share % rows:
        return None
    stages = range(0 if config.engine.precision == "fp32" else 1, 4)
    return MemoryForecast(
        basis="modelled",
        device=config.hardware.device,
        device_bytes=device_bytes(config.hardware),
        headroom=HEADROOM,
        processes=processes,
        rows_per_process=share,
        micro_sequences=rows,
        zero_stage=config.engine.zero_stage,
        stages={stage: _stage(plan, decoder, stage, processes, rows) for stage in stages},
        left_out=LEFT_OUT,
    )


def offloaded_bytes(plan: Plan) -> int:
    """Return the bytes that all processes of a group offload to hosts; 0 for a model of unknown shape."""
    config, decoder, processes = plan.config, decoder_of(plan.config.model), _processes(plan)
    if decoder is None:
        return 0
    rows = min(config.batch.micro_sequences or config.batch.sequences, max(1, config.batch.sequences // processes))
    return processes * host_bytes(decoder, _setting(plan, decoder, config.engine.zero_stage, processes, rows))


def _processes(plan: Plan) -> int:
    """Return the number of processes of the smallest group that trains a path."""
    launch, hardware = plan.config.launch, plan.config.hardware
    unknown = hardware.devices if hardware else 1
    return min(launch.processes_of(kind) or unknown for kind in {path.kind for path in plan.graph.paths})


def _stage(plan: Plan, decoder: Decoder, stage: int, processes: int, rows: int) -> StageMemory:
    setting = _setting(plan, decoder, stage, processes, rows)
    found = memory_need(decoder, setting)
    memory = device_bytes(plan.config.hardware) if plan.config.hardware else None
    return StageMemory(
        peak_bytes=found.peak.total,
        fullest_moment=found.fullest,
        weights_bytes=found.peak.weights,
        gradients_bytes=found.peak.gradients,
        master_bytes=found.peak.master,
        moments_bytes=found.peak.moments,
        buckets_bytes=found.peak.buckets,
        activations_bytes=found.peak.activations,
        logits_bytes=found.peak.logits,
        share_of_device=None if memory is None else found.peak.total / memory,
        largest_micro_sequences=None if memory is None else _largest(plan, decoder, stage, processes, memory),
        host_bytes=host_bytes(decoder, setting) or None,
        summed_bytes=FP32 * decoder.parameters if setting.sums_gradients else None,
    )


def _largest(plan: Plan, decoder: Decoder, stage: int, processes: int, memory: int) -> int | None:
    """Return the largest micro-batch that divides a process's share of the batch and leaves the headroom free."""
    share, available = plan.config.batch.sequences // processes, (1 - HEADROOM) * memory
    sizes = (size for size in range(share, 0, -1) if share % size == 0)
    settings = ((size, _setting(plan, decoder, stage, processes, size)) for size in sizes)
    return next((size for size, each in settings if memory_need(decoder, each).peak.total <= available), None)


def _setting(plan: Plan, decoder: Decoder, stage: int, processes: int, rows: int) -> Setting:
    config = plan.config
    zero, on_cpu = config.engine.passed.zero, config.hardware is not None and config.hardware.device.lower() == "cpu"
    return Setting(
        zero_stage=stage,
        precision=config.engine.precision,
        devices=processes,
        rows=rows,
        micro_batches=config.batch.sequences // processes // rows,
        length=config.data.sequence_length,
        checkpointing=config.engine.activation_checkpointing,
        attention=config.engine.attention,
        masked=not config.data.attention_across_documents,
        chunked=config.engine.cross_entropy != "full",
        gloo=on_cpu,
        states=optimizer_states(config, MAIN),
        buckets=buckets_of(config.engine, decoder.parameters, processes, not on_cpu),
        bf16_sums=plan.conventions.get(GRADIENT_SUM) != FP32_SUM,
        offload_optimizer=zero.offloads_optimizer,
        offload_weights=zero.offloads_parameters,
        second_copy=zero.zero_hpz_partition_size or 1,
    )
