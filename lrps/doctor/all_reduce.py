"""Measurement of all-reduces in a running process group: whether their sums are right, and how fast they are.

As a program (`python -m lrps.doctor.all_reduce RANK WORLD PORT`) it is one rank of a gloo group on this machine.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from statistics import median

import torch
import torch.distributed as dist

SIZES = (10**6, 64 * 10**6)
"""Sizes of the messages in bytes: latency limits the first, bandwidth the second."""
GROUP_SECONDS = 60


@dataclass(frozen=True)
class Speed:
    """Speed of all-reduces of one size: the median of several, on the slowest rank."""

    bytes: int
    seconds: float
    bus_bytes_per_second: float | None
    """Bandwidth of each link as nccl-tests define it, bytes / seconds * 2 (n - 1) / n for n ranks; None for one."""


@dataclass(frozen=True)
class Measurement:
    """Correctness and speed of all-reduces; equal on all ranks."""

    right: bool
    """Whether every element of every sum was exact on all ranks."""
    latency_seconds: float
    """Time of an all-reduce of 4 bytes."""
    speeds: tuple[Speed, ...]


def bus_bandwidth(size: int, seconds: float, ranks: int) -> float | None:
    """Return the bandwidth of each link as Speed defines it. size: bytes."""
    return size / seconds * 2 * (ranks - 1) / ranks if ranks > 1 else None


def measure(device: torch.device, sizes: Sequence[int] = SIZES) -> Measurement:
    """Measure all-reduces of 4 and of `sizes` bytes on `device`. Collective."""
    ranks = dist.get_world_size()
    right, latency = _all_reduce(device, 4, 20)
    speeds = []
    for size in sizes:
        sums_right, seconds = _all_reduce(device, size, 5)
        right = right and sums_right
        speeds.append(Speed(size, seconds, bus_bandwidth(size, seconds, ranks)))
    return Measurement(right, latency, tuple(speeds))


def _all_reduce(device: torch.device, size: int, repeats: int) -> tuple[bool, float]:
    """Return whether all sums were right on all ranks, and the median seconds of the slowest rank.

    One more all-reduce warms up.
    """
    rank, ranks = dist.get_rank(), dist.get_world_size()
    # Small whole numbers: their sums are exact in fp32, in any order.
    values = torch.arange(size // 4, device=device) % 1024 + rank
    expected = ((values - rank) * ranks + ranks * (ranks - 1) // 2).float()
    right, times = True, list[float]()
    for _ in range(repeats + 1):
        summed = values.float()
        dist.barrier()
        _synchronize(device)
        began = time.perf_counter()
        dist.all_reduce(summed)
        _synchronize(device)
        times.append(time.perf_counter() - began)
        right = right and torch.equal(summed, expected)
    worst = torch.tensor([0.0 if right else 1.0, median(times[1:])], dtype=torch.float64, device=device)
    dist.all_reduce(worst, dist.ReduceOp.MAX)
    wrong, seconds = worst.tolist()
    return not wrong, seconds


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main(rank: int, world: int, port: int) -> None:
    """Run one rank of a gloo group on this machine; rank 0 prints the measurement as JSON."""
    store = dist.TCPStore("127.0.0.1", port, world, rank == 0, timedelta(seconds=GROUP_SECONDS))
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world, timeout=timedelta(seconds=GROUP_SECONDS))
    try:
        measured = measure(torch.device("cpu"))
        if rank == 0:
            print(json.dumps(asdict(measured)))
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
