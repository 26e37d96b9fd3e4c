"""The config that DeepSpeed gets: lrps' defaults, over them the settings that the user passes, over them lrps' own.

Pure functions of the config and of the place where it runs. Must not import deepspeed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lrps.base.errors import ConfigError
from lrps.config.models import Config
from lrps.paths.buckets import default_buckets
from lrps.store.conventions import FP32_SUM, GRADIENT_SUM

_NEVER = 10**9


@dataclass(frozen=True)
class Division:
    """Division of a batch among processes and micro-batches; several processes count as one if they share rows."""

    micro_rows: int
    """Number of rows of a micro-batch of one process."""
    micro_batches: int
    """Number of micro-batches of a step of one process."""

    @property
    def rows(self) -> int:
        """Number of rows of a step of one process."""
        return self.micro_rows * self.micro_batches


def division(config: Config, processes: int) -> Division:
    """Return the division of a batch; raise ConfigError if there is none."""
    if (fault := config.share_fault(processes)) is not None:
        raise ConfigError(fault)
    share = config.rows_each(processes)
    micro = min(config.batch.micro_sequences or share, share)
    if share % micro:
        parts = config.engine.sequence_parallel
        over = f"{processes} processes" if parts == 1 else f"{processes // parts} groups of {parts} processes"
        raise ConfigError(
            f"batch.sequences {config.batch.sequences} over {over} is {share} sequences each, which "
            f"batch.micro_sequences {micro} does not divide; make it a divisor of {share}"
        )
    return Division(micro, share // micro)


def sums_gradients(config: Config, micro_batches: int, conventions: Mapping[str, str]) -> bool:
    """Return whether lrps sums the gradients of micro-batches in fp32 itself, see gradient_sum.py."""
    bf16_sums = config.engine.precision == "bf16" and config.engine.zero_stage == 1
    return bf16_sums and micro_batches > 1 and conventions.get(GRADIENT_SUM) == FP32_SUM


def deepspeed_settings(
    config: Config, divided: Division, parameters: int, *, processes: int, on_gpu: bool, own_sums: bool
) -> dict[str, Any]:
    """Return the config of DeepSpeed: without scheduler and optimizer, and with batch sizes that lrps computed.

    parameters: number of them in the model. own_sums: whether lrps sums the gradients of micro-batches itself.
    """
    buckets = default_buckets(parameters, processes, on_gpu)
    defaults: dict[str, Any] = {"zero_optimization": {"reduce_bucket_size": buckets.reduced}}
    if buckets.overlap:
        defaults["zero_optimization"] |= {"overlap_comm": True, "allgather_bucket_size": buckets.gathered}
    own: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": divided.micro_rows,
        "gradient_accumulation_steps": 1 if own_sums else divided.micro_batches,
        "gradient_clipping": config.optimizer.clip_grad_norm or 0.0,
        "zero_optimization": {"stage": config.engine.zero_stage},
        "steps_per_print": _NEVER,
    }
    passed = config.engine.passed
    group = passed.zero.zero_hpz_partition_size or 1
    if processes % group:
        raise ConfigError(
            f"engine.deepspeed.zero_optimization.zero_hpz_partition_size {group} does not divide {processes} processes"
        )
    if passed.zero.offloads_optimizer or passed.zero.offloads_parameters:
        own["zero_force_ds_cpu_optimizer"] = False  # torch's AdamW takes the steps on the CPU as well.
    if config.engine.sequence_parallel > 1 and config.engine.zero_stage == 3:
        # Its reduce-scatter divides gradients by all processes, not by the groups that have different rows.
        own["zero_optimization"]["reduce_scatter"] = False
    if config.engine.precision == "bf16":
        own["bf16"] = {"enabled": True, "check_grad_overflow": True}
        # Sums over micro-batches in fp32. Stage 1 cannot: the setting would swap in DeepSpeed's BF16_Optimizer, which
        # asserts instead of skipping a non-finite step.
        if config.engine.zero_stage >= 2:
            own["data_types"] = {"grad_accum_dtype": "fp32"}
    return merged(merged(defaults, passed.as_mapping()), own)


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return two nested mappings as one; where both have a value, that of `above`."""
    both = {
        key: merged(below[key], value)
        for key, value in above.items()
        if isinstance(value, Mapping) and isinstance(below.get(key), Mapping)
    }
    return {**below, **above, **both}
