"""GPUs, cores and memory: what is here, and whether it is enough for the processes that the config starts."""

from __future__ import annotations

import os
from collections.abc import Iterator

import psutil

from lrps.base.numbers import size
from lrps.config.models import Config
from lrps.doctor.examination import Subject, cores
from lrps.doctor.finding import Finding

AREA = "devices"
BF16_CAPABILITY = (8, 0)
"""Of the first NVIDIA GPUs that compute in bf16."""
_MOSTLY_FREE = 0.9


def check_cpu(subject: Subject) -> Iterator[Finding]:
    """Cores and OMP_NUM_THREADS."""
    here, threads, processes = cores(), os.environ.get("OMP_NUM_THREADS"), subject.processes
    yield Finding(AREA, "cores", "ok", f"{here} that this process may use")
    if threads is None:
        yield Finding(AREA, "OMP_NUM_THREADS", "ok", "not set: `lrps run` divides the cores where there is no GPU")
    elif not threads.isdigit() or int(threads) * processes > here:
        what = f"OMP_NUM_THREADS={threads} for {processes} processes on {here} cores"
        way_out = f"set it to {max(1, here // processes)} or unset it; too many threads wait for each other"
        yield Finding(AREA, "OMP_NUM_THREADS", "warn", what, way_out)
    else:
        yield Finding(AREA, "OMP_NUM_THREADS", "ok", f"{threads} for each of {processes} processes")


def check_memory(subject: Subject) -> Iterator[Finding]:
    """Host memory, and whether the copies that saves in flight need fit in it."""
    available = psutil.virtual_memory().available
    what = f"{size(available)} of {size(psutil.virtual_memory().total)} available"
    config, needed = subject.config, subject.plan.costs.checkpoint_bytes if subject.plan else None
    if config is not None and needed is not None and config.checkpoint.asynchronous:
        here = needed if config.launch.launcher in ("local", "torchrun") else None
        if here is not None and here > available:
            way_out = "set checkpoint.asynchronous: false, or train on more hosts"
            yield Finding(AREA, "memory", "fail", f"{what}; copies for saves in flight take {size(here)}", way_out)
            return
    yield Finding(AREA, "memory", "ok", what)


def check_gpus(subject: Subject) -> Iterator[Finding]:
    """Number, kind, free memory, links between them, energy counters. Loads torch."""
    import torch

    config, number = subject.config, torch.cuda.device_count() if torch.cuda.is_available() else 0
    yield _number(config, number)
    for index in range(number):
        yield from _gpu(config, index)
    if number > 1:
        yield _peers(number)


def _number(config: Config | None, number: int) -> Finding:
    if number == 0:
        if config is None or config.engine.precision == "fp32":
            return Finding(AREA, "GPUs", "ok", "none: lrps trains on the CPU, with gloo")
        way_out = "train where GPUs are, or set engine.precision: fp32 for a try"
        return Finding(AREA, "GPUs", "warn", f"none here, and the config wants {config.engine.precision}", way_out)
    if config is not None and config.launch.processes > number:
        way_out = f"set launch.processes to {number} or fewer: every process needs a GPU of its own"
        return Finding(AREA, "GPUs", "fail", f"{number} for {config.launch.processes} processes", way_out)
    return Finding(AREA, "GPUs", "ok", str(number))


def _gpu(config: Config | None, index: int) -> Iterator[Finding]:
    import torch

    from lrps.engine.machine import used_joules

    name = f"GPU {index}"
    capability, device = torch.cuda.get_device_capability(index), torch.cuda.get_device_name(index)
    free, total = torch.cuda.mem_get_info(index)
    what = f"{device}, compute capability {capability[0]}.{capability[1]}, {size(free)} of {size(total)} free"
    if config is not None and config.engine.precision == "bf16" and capability < BF16_CAPABILITY:
        way_out = "set engine.precision: fp32, or take a GPU of compute capability 8.0 or higher"
        yield Finding(AREA, name, "fail", f"{what}; it has no bf16", way_out)
    elif free < _MOSTLY_FREE * total:
        way_out = "look at `nvidia-smi` for what holds it; a process of a killed run may still be there"
        yield Finding(AREA, name, "warn", what, way_out)
    else:
        yield Finding(AREA, name, "ok", what)
    if used_joules(torch.device("cuda", index)) is None:
        way_out = "run `pip install 'lrps[nvml]'`; without it, and on GPUs without a counter, energy is n/a"
        yield Finding(AREA, f"{name} energy", "warn", "no energy counter can be read", way_out)
    else:
        yield Finding(AREA, f"{name} energy", "ok", "counted by NVML")


def _peers(number: int) -> Finding:
    import torch

    pairs = [(a, b) for a in range(number) for b in range(number) if a != b]
    apart = [pair for pair in pairs if not torch.cuda.can_device_access_peer(*pair)]
    if not apart:
        return Finding(AREA, "peers", "ok", "every GPU reads every other one directly")
    a, b = apart[0]
    what = f"{len(apart)} of {len(pairs)} pairs go through the host, such as {a} -> {b}"
    return Finding(AREA, "peers", "warn", what, "look at `nvidia-smi topo -m`; in a virtual machine ask for NVLink")
