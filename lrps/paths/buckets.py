"""Sizes of the buffers in which DeepSpeed sends gradients and weights, and the default whether sending overlaps.

Imports no torch: the engine sets them, and the forecast of memory counts them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lrps.config.models import EngineConfig

LARGEST_BUCKET = 5 * 10**8
"""Largest bucket where nothing overlaps, in elements: DeepSpeed's default, which it allocates whatever the model."""
OVERLAPPED_BUCKET = 2 * 10**8
"""Largest bucket on several GPUs: a bucket is sent while the next one fills, so that a bucket as large as the model
would overlap with nothing. DeepSpeed's examples for large models use the same size."""


@dataclass(frozen=True)
class Buckets:
    """Buckets of one process, in elements."""

    reduced: int
    """Number of gradients that are reduced at a time."""
    gathered: int
    """Number of updated weights that are gathered at a time."""
    overlap: bool
    """Whether gradients are reduced while the backward pass continues: then there are two buckets of gradients."""


def buckets_of(engine: EngineConfig, parameters: int, processes: int, on_gpu: bool) -> Buckets:
    """Return the buckets of a model: those that the config gives, else the default ones."""
    default, given = default_buckets(parameters, processes, on_gpu), engine.passed.zero
    overlap = default.overlap if given.overlap_comm is None else given.overlap_comm
    contiguous = given.contiguous_gradients is not False
    return Buckets(
        given.reduce_bucket_size or default.reduced,
        default.gathered if given.allgather_bucket_size is None else given.allgather_bucket_size,
        overlap and contiguous,
    )


def default_buckets(parameters: int, processes: int, on_gpu: bool) -> Buckets:
    """Return lrps' default buckets of a model with `parameters` parameters."""
    overlap = on_gpu and processes > 1
    largest = OVERLAPPED_BUCKET if overlap else LARGEST_BUCKET
    return Buckets(min(largest, parameters), largest, overlap)


def changed_sums(engine: EngineConfig, parameters: int, processes: int, on_gpu: bool) -> dict[str, Any]:
    """Return the default settings that sum gradients in another order than earlier versions of lrps did, by name.

    There are none below three processes, because two numbers have one sum, and at stage 0, which reads none.
    Settings that the config gives may replace them.
    """
    if processes < 3 or engine.zero_stage == 0:
        return {}
    buckets, earlier = default_buckets(parameters, processes, on_gpu), earlier_sums(engine.zero_stage)
    changed: dict[str, Any] = {}
    if buckets.overlap and not earlier["overlap_comm"]:
        changed["overlap_comm"] = True
    if buckets.reduced < min(parameters, earlier["reduce_bucket_size"]):
        changed["reduce_bucket_size"] = buckets.reduced
    return changed


def earlier_sums(zero_stage: int) -> dict[str, Any]:
    """Return what states were trained with that record no such setting: the defaults of earlier versions of lrps."""
    return {"overlap_comm": zero_stage == 3, "reduce_bucket_size": LARGEST_BUCKET}
