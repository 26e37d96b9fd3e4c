"""What ranks measure together: is an all-reduce right, and how fast. Needs a running process group.

As a program (`python -m lrps.doctor.exchange RANK WORLD PORT`) it is one rank of a gloo group on this machine.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from statistics import median
from typing import Any

import torch
import torch.distributed as dist

SIZES = (10**6, 64 * 10**6)
"""Bytes of the messages: one that latency rules, one that bandwidth rules."""
GROUP_SECONDS = 60


@dataclass(frozen=True)
class Speed:
    """Of all-reduces of so many bytes, the median of some, by the slowest rank."""

    bytes: int
    seconds: float
    bus_bytes_per_second: float | None
    """bytes / seconds * 2 (n - 1) / n, as nccl-tests have it: what each link carries. None for one rank."""


@dataclass(frozen=True)
class Exchange:
    """Equal on all ranks."""

    right: bool
    """Every element of every sum was the exact one, on all ranks."""
    latency_seconds: float
    """Of an all-reduce of 4 bytes."""
    speeds: tuple[Speed, ...]


def bus_bandwidth(size: int, seconds: float, ranks: int) -> float | None:
    """See Speed."""
    return size / seconds * 2 * (ranks - 1) / ranks if ranks > 1 else None


def exchange(device: torch.device, sizes: Sequence[int] = SIZES) -> Exchange:
    """All-reduce messages of 4 and of `sizes` bytes on `device`. Collective."""
    ranks = dist.get_world_size()
    right, latency = _all_reduce(device, 4, 20)
    speeds = []
    for size in sizes:
        good, seconds = _all_reduce(device, size, 5)
        right = right and good
        speeds.append(Speed(size, seconds, bus_bandwidth(size, seconds, ranks)))
    return Exchange(right, latency, tuple(speeds))


def _all_reduce(device: torch.device, size: int, repeats: int) -> tuple[bool, float]:
    """(whether all sums were right on all ranks, median seconds of the slowest rank); the first one warms up."""
    rank, ranks = dist.get_rank(), dist.get_world_size()
    # Small whole numbers: their sums are exact in fp32, in any order.
    values = torch.arange(size // 4, device=device) % 1024 + rank
    expected = ((values - rank) * ranks + ranks * (ranks - 1) // 2).float()
    right, taken = True, []
    for _ in range(repeats + 1):
        summed = values.float()
        dist.barrier()
        _synchronize(device)
        began = time.perf_counter()
        dist.all_reduce(summed)
        _synchronize(device)
        taken.append(time.perf_counter() - began)
        right = right and torch.equal(summed, expected)
    told = torch.tensor([0.0 if right else 1.0, median(taken[1:])], dtype=torch.float64, device=device)
    dist.all_reduce(told, dist.ReduceOp.MAX)
    wrong, seconds = told.tolist()
    return not wrong, seconds


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def as_json(found: Exchange) -> dict[str, Any]:
    return asdict(found)


def main(rank: int, world: int, port: int) -> None:
    """One rank of a gloo group on this machine; rank 0 prints what was found as JSON."""
    store = dist.TCPStore("127.0.0.1", port, world, rank == 0, timedelta(seconds=GROUP_SECONDS))
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world, timeout=timedelta(seconds=GROUP_SECONDS))
    try:
        found = exchange(torch.device("cpu"))
        if rank == 0:
            print(json.dumps(as_json(found)))
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
