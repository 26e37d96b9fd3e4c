"""The processor that an attempt on CPUs runs on, for its start record: last digits of losses depend on it."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import torch


def processor_facts(device: str, cpuinfo: Path = Path("/proc/cpuinfo")) -> dict[str, Any]:
    """Return the model, the instruction set that torch uses and the number of threads, as one fact; none on GPUs.

    device: name of the engine's device. cpuinfo: the file of Linux that names the model; platform's name without it.
    """
    if device != "cpu":
        return {}
    instructions, threads = torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()
    return {"processor": {"model": _model(cpuinfo), "instructions": instructions, "threads": threads}}


def _model(cpuinfo: Path) -> str:
    try:
        lines = cpuinfo.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
