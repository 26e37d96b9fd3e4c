"""The machine under one rank: its GPU's name and energy counter, its ports, its memory allocator."""

from __future__ import annotations

import ctypes
import socket

import torch

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_KEPT_BYTES = 2**31 - 1
_FROM_HEAP_BYTES = 2**30


def device_name() -> str:
    """Return `cpu`, or the product name of the GPU that this process uses."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def free_port() -> int:
    """Return the number of a port that no process of this machine listens at now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def used_joules(device: torch.device) -> float | None:
    """Return the energy in joules that the GPU has counted since its driver was loaded (NVML).

    None without a GPU, without the optional package nvidia-ml-py, or on a GPU that has no counter: energy is never
    estimated from the rated power.
    """
    if device.type != "cuda":
        return None
    try:
        import pynvml  # type: ignore[import-not-found]

        pynvml.nvmlInit()
        uuid = str(torch.cuda.get_device_properties(device).uuid)
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}")
        return pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000
    except Exception:  # No package, no driver, no counter: training continues without energy figures.
        return None


def retain_host_memory() -> bool:
    """Let this process keep the memory that it frees. Return False where the C library does not support it.

    glibc returns blocks above 32 MB to the system at once, and every page of the next block is then a page fault. On a
    CPU that costs a fifth of a step under DeepSpeed, which allocates its buckets and flat gradients in every step.
    C libraries other than glibc have no such setting, and an older glibc accepts at most 32 MB (mallopt(3)).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _FROM_HEAP_BYTES) and mallopt(_TRIM_THRESHOLD, _KEPT_BYTES))
