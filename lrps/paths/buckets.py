"""Sizes of the buffers in which DeepSpeed sends gradients and weights, and the default whether sending overlaps.

Imports no torch: the engine sets them, and the forecast of memory counts them.
"""

from __future__ import annotations

from dataclasses import dataclass

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
