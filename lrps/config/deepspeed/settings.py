"""The section `engine.deepspeed` of a config file: the DeepSpeed settings that lrps passes through.

Every key has DeepSpeed's own name and meaning. A setting is listed here if training with it was seen to save states
that resume bitwise and load into every other topology (tests/engine/test_passed_settings.py). All others are refused
with a reason, see refusals.py.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from lrps.config.values import Float, Int, Section, parse_quantity

PASSED = "deepspeed"
"""Key of a checkpoint's identity with the settings of DeepSpeed that change last digits: those that were passed, and
defaults of lrps that earlier versions did not have. Absent where there are none."""
_NVME = (
    "states that DeepSpeed swaps out to nvme cannot be saved as lrps saves them: give cpu, or divide the state among "
    "more processes with a higher engine.zero_stage"
)


_SCALING = {"communication_data_type", "gradient_predivide_factor", "prescale_gradients"}
SUMMATION = {
    *("overlap_comm", "reduce_scatter", "reduce_bucket_size", "use_multi_rank_bucket_allreduce"),
    "sub_group_size",
}
"""Settings of ZeRO that change the order in which the gradients of processes, or their squares, are summed."""


def _elements(value: Any) -> Any:
    """Return a number of elements; `5e8` and `200M` are numbers as well."""
    if value == "auto":
        raise ValueError("only Hugging Face's Trainer fills in 'auto': leave the key out for the default of lrps")
    return parse_quantity(value)


def _device(value: Any) -> Any:
    """Return the device of an offload; raise ValueError for nvme."""
    if value == "nvme":
        raise ValueError(_NVME)
    return value


def _sent(value: Any) -> Any:
    """Return the type in which gradients are sent; raise ValueError for one that loses precision."""
    if value in ("fp16", "bf16", "bfp16"):
        raise ValueError("fp32 is the only value: gradients that lose precision change what is trained")
    return value


Elements = Annotated[
    int,
    BeforeValidator(_elements),
    Field(ge=0),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": "^[0-9.]+ *[KMBGT]?$"}]}),
]
Device = Annotated[Literal["cpu", "none"], BeforeValidator(_device)]


class OffloadOptimizer(Section):
    """Offload of the fp32 weights, the optimizer's states and its step."""

    device: Device = "none"
    """`cpu`: both are in the memory of the host, and the CPU takes the optimizer's steps. `none`: no offload."""
    pin_memory: bool | None = None
    """Whether the memory is page-locked; by default it is. False only for hosts whose limit of locked memory is low."""


class OffloadParam(Section):
    """Offload of the partitioned weights of forward passes; needs zero_stage 3."""

    device: Device = "none"
    """`cpu`: the weights are in the memory of the host and copied to the device for each layer. `none`: no offload."""
    pin_memory: bool | None = None
    """Whether the memory is page-locked; by default it is."""


class LeafModules(Section):
    """Modules that stage 3 gathers as a whole, such as a mixture of experts."""

    classes: tuple[str, ...] | None = None
    """Names of classes, plain or with their modules."""
    names: tuple[str, ...] | None = None
    """Names of modules in the model."""
    name_suffixes: tuple[str, ...] | None = None
    """Ends of names of modules in the model."""


class ZeroSettings(Section):
    """Settings of ZeRO. The stage is `engine.zero_stage`. Sizes are numbers of elements; keys with `stage3_` and the
    other ones that say so have an effect at stage 3 only."""

    overlap_comm: bool | None = None
    """Whether gradients are reduced while the backward pass continues. By default of lrps: on GPUs, from two processes
    on; at stage 3 always."""
    contiguous_gradients: bool | None = None
    """Whether gradients are copied to a contiguous buffer as they are produced."""
    reduce_scatter: bool | None = None
    """Whether gradients are averaged by reduce or reduce-scatter, not by all-reduce. False needs zero_stage 1 to 3."""
    reduce_bucket_size: Annotated[Elements, Field(gt=0)] | None = None
    """Number of gradients that are reduced at a time. By default of lrps: all, but at most 5e8, on CPUs and on a single
    GPU; 2e8 on several GPUs, so that communication and computation overlap."""
    allgather_bucket_size: Annotated[Elements, Field(gt=0)] | None = None
    """Number of updated weights that are gathered at a time; an even number. By default of lrps 2e8 on several GPUs."""
    allgather_partitions: bool | None = None
    """Whether updated weights are gathered by all-gather, not by broadcasts."""
    use_multi_rank_bucket_allreduce: bool | None = None
    """Whether buckets of several ranks are reduced together."""
    parameter_alignment: bool | None = None
    """Whether every parameter begins at an address that 16 bytes divide, at stages 1 and 2."""
    ignore_unused_parameters: bool | None = None
    """Whether parameters without a gradient are ignored, not an error, at stage 2."""
    elastic_checkpoint: bool | None = None
    """Without effect, since lrps writes its own checkpoints, which load into every topology."""
    enable_sanity_checks: bool | None = None
    """Whether DeepSpeed checks itself in every step; slow."""
    offload_optimizer: OffloadOptimizer | None = None
    """Place of the optimizer states outside the devices."""
    offload_param: OffloadParam | None = None
    """Place of the weights outside the devices (ZeRO 3)."""
    sub_group_size: Elements | None = None
    """Number of parameters that stage 3 updates at a time."""
    stage3_prefetch_bucket_size: Elements | None = None
    """Number of weights that stage 3 fetches ahead."""
    stage3_param_persistence_threshold: Elements | None = None
    """Size up to which stage 3 keeps a parameter whole on every rank."""
    stage3_model_persistence_threshold: Elements | None = None
    """Largest number of parameters that stage 3 keeps whole for this reason."""
    stage3_max_live_parameters: Elements | None = None
    """Largest number of weights that stage 3 has gathered at a time."""
    stage3_max_reuse_distance: Elements | None = None
    """Distance to its next use, in parameters, up to which stage 3 keeps a gathered weight."""
    stage3_use_all_reduce_for_fetch_params: bool | None = None
    """Whether stage 3 fetches weights by all-reduce."""
    stage3_allgather_sequential: bool | None = None
    """Whether stage 3 gathers weights one by one, without a buffer for several."""
    memory_efficient_linear: bool | None = None
    """Whether stage 3 replaces linear layers by ones that save less for the backward pass."""
    leaf_module: LeafModules | None = None
    """Modules whose weights are gathered as a whole (ZeRO 3)."""
    log_trace_cache_warnings: bool | None = None
    """Whether stage 3 reports that the order of modules has changed."""
    zero_hpz_partition_size: Annotated[Int, Field(ge=1)] | None = None
    """Number of ranks, usually those of a host, that have a second copy of all weights among them, from which stage 3
    gathers them in the backward pass (ZeRO++). A divisor of the number of processes; needs zero_stage 3."""

    @model_validator(mode="after")
    def _even(self) -> Self:
        if (self.allgather_bucket_size or 0) % 2:
            raise ValueError(f"allgather_bucket_size {self.allgather_bucket_size} must be even")
        return self

    @property
    def offloads_optimizer(self) -> bool:
        """Return True if the optimizer's states are in the memory of the host."""
        return self.offload_optimizer is not None and self.offload_optimizer.device == "cpu"

    @property
    def offloads_parameters(self) -> bool:
        """Return True if the partitioned weights are in the memory of the host."""
        return self.offload_param is not None and self.offload_param.device == "cpu"


class CommsLogger(Section):
    """Log of collectives: their number, sizes and times."""

    enabled: bool | None = None
    """Whether DeepSpeed logs its communication."""
    verbose: bool | None = None
    """Whether every collective is logged when it ends."""
    prof_all: bool | None = None
    """Whether all operations are logged, or only those of `prof_ops`."""
    prof_ops: tuple[str, ...] | None = None
    """Names of the collectives that are logged, if not all are."""
    debug: bool | None = None
    """Whether the caller of every operation is logged too."""


class FlopsProfiler(Section):
    """Profile of the FLOPs and the time of every module in one step."""

    enabled: bool | None = None
    """Whether the FLOPs of a step are profiled."""
    recompute_fwd_factor: Annotated[Float, Field(ge=0)] | None = None
    """Share of the forward FLOPs that is computed again in the backward pass."""
    profile_step: Annotated[Int, Field(ge=0)] | None = None
    """Number of the step that is profiled."""
    module_depth: Int | None = None
    """Depth of the modules that the profile shows; -1 for the innermost."""
    top_modules: Int | None = None
    """Number of modules that the profile shows at every depth."""
    detailed: bool | None = None
    """Whether the profile of every module is printed."""
    output_file: str | None = None
    """File that the profile is written to; by default it is printed."""


class DeepCompile(Section):
    """DeepSpeed's compiler, which acts only where the whole model is compiled; refused with `engine.compile`."""

    deepcompile: bool | None = None
    """Whether DeepSpeed's compiler passes compile the model."""


class DeepSpeedSettings(Section):
    """Settings that are passed to DeepSpeed beside those of lrps. Each has DeepSpeed's name, meaning and default,
    unless its text says otherwise. All others are refused, each with its reason (docs/performance.md)."""

    zero_optimization: ZeroSettings | None = None
    """Settings of ZeRO, besides the stage."""
    communication_data_type: Annotated[Literal["fp32"], BeforeValidator(_sent)] | None = None
    """Type in which gradients are sent: fp32 instead of the precision of the weights. Changes the last digits."""
    gradient_predivide_factor: Annotated[Float, Field(gt=0)] | None = None
    """Divisor of gradients before they are summed; the sum is divided by the rest. Needs zero_stage 1. Changes the last
    digits unless it is a power of two."""
    prescale_gradients: bool | None = None
    """Whether gradients are divided by the number of processes before they are summed. Needs zero_stage 1. Changes the
    last digits unless that number is a power of two."""
    zero_force_ds_cpu_optimizer: Literal[False] | None = None
    """Only false, which lrps sets where the optimizer is offloaded: its AdamW takes the steps on the CPU as well."""
    comms_logger: CommsLogger | None = None
    """DeepSpeed's log of its communication."""
    flops_profiler: FlopsProfiler | None = None
    """DeepSpeed's profile of the FLOPs of one step."""
    wall_clock_breakdown: bool | None = None
    """Whether the times of the parts of steps are logged; it waits for the device in every step."""
    disable_python_gc: bool | None = None
    """Whether Python's collection of garbage runs only when DeepSpeed asks for it."""
    compile: DeepCompile | None = None
    """DeepSpeed's own compilation."""

    @property
    def zero(self) -> ZeroSettings:
        """Settings of ZeRO; the defaults if there are none."""
        return self.zero_optimization or ZeroSettings()

    def as_mapping(self) -> dict[str, Any]:
        """Return the given settings as DeepSpeed reads them."""
        return self.model_dump(mode="json", exclude_none=True)

    def changing_digits(self) -> dict[str, Any]:
        """Return the given settings that change the last digits of what is trained, by their names.

        Those of sums do from three processes on, because they change the order in which gradients are summed.
        Checkpoints record them, as they do the ZeRO stage and the number of processes.
        """
        zero = self.zero.model_dump(mode="json", exclude_none=True, include=SUMMATION)
        offload = {"offload_optimizer": "cpu"} if self.zero.offloads_optimizer else {}
        return self.model_dump(exclude_none=True, include=_SCALING) | zero | offload


def stage_fault(settings: DeepSpeedSettings, stage: int) -> str | None:
    """Return why settings do not fit a ZeRO stage; None if they do."""
    zero = settings.zero
    if stage == 0 and settings.zero_optimization is not None and settings.as_mapping()["zero_optimization"]:
        return "zero_optimization needs zero_stage 1 or higher: at zero_stage 0 it has no effect"
    if zero.offloads_parameters and stage != 3:
        return "zero_optimization.offload_param needs zero_stage 3, the only one that divides the weights"
    if (zero.zero_hpz_partition_size or 1) > 1 and stage != 3:
        return "zero_optimization.zero_hpz_partition_size needs zero_stage 3, the only one that divides the weights"
    if stage != 1 and (settings.prescale_gradients or settings.gradient_predivide_factor not in (None, 1)):
        return "gradient_predivide_factor and prescale_gradients work at zero_stage 1 only, in DeepSpeed 0.19.8"
    return None
