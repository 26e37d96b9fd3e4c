"""Checks of GPUs, cores and memory against what the config needs, and of the price of a device-hour."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import date

import psutil

from lrps.base.numbers import size
from lrps.config.models import Config
from lrps.costs.planned.memory_forecast import offloaded_bytes
from lrps.doctor.examination import Subject, cores
from lrps.doctor.finding import Finding
from lrps.launch.launchers.registry import launcher_of
from lrps.paths.cost import PEAK_TFLOPS, peak_flops

AREA = "devices"
BF16_CAPABILITY = (8, 0)
"""Compute capability of the first NVIDIA GPUs that compute in bf16."""
OLD_PRICE_DAYS = 365
_MOSTLY_FREE = 0.9


def check_cpu(subject: Subject) -> Iterator[Finding]:
    """Check the number of cores and OMP_NUM_THREADS."""
    here, threads, processes = cores(), os.environ.get("OMP_NUM_THREADS"), subject.processes
    yield Finding(AREA, "cores", "ok", f"{here} that this process may use")
    if threads is None:
        yield Finding(AREA, "OMP_NUM_THREADS", "ok", "not set: `lrps run` divides the cores where there is no GPU")
    elif not threads.isdigit() or int(threads) * processes > here:
        what = f"OMP_NUM_THREADS={threads} for {processes} processes on {here} cores"
        fix = f"set it to {max(1, here // processes)} or unset it; too many threads wait for each other"
        yield Finding(AREA, "OMP_NUM_THREADS", "warn", what, fix)
    else:
        yield Finding(AREA, "OMP_NUM_THREADS", "ok", f"{threads} for each of {processes} processes")


def check_memory(subject: Subject) -> Iterator[Finding]:
    """Check the host memory against offloaded states, and the copies that asynchronous saves need."""
    available = psutil.virtual_memory().available
    what = f"{size(available)} of {size(psutil.virtual_memory().total)} available"
    plan = subject.plan
    if plan is None or not launcher_of(plan.config.launch).single_host:
        yield Finding(AREA, "memory", "ok", what)
        return
    copies = (plan.costs.checkpoint_bytes or 0) if plan.config.checkpoint.asynchronous else 0
    offloaded = offloaded_bytes(plan)
    parts = {"copies for asynchronous saves": copies, "offloaded states": offloaded}
    taken = " and ".join(f"{name} take {size(number)}" for name, number in parts.items() if number)
    if copies + offloaded > available:
        fix = "train on more hosts" if offloaded else "set checkpoint.asynchronous: false, or train on more hosts"
        yield Finding(AREA, "memory", "fail", f"{what}; {taken}", fix)
    else:
        yield Finding(AREA, "memory", "ok", f"{what}; {taken}" if offloaded else what)


def check_gpus(subject: Subject) -> Iterator[Finding]:
    """Check the GPUs: number, kind, free memory, links between them, energy counters. Loads torch."""
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
        fix = "train on a machine with GPUs, or set engine.precision: fp32 to try it here"
        return Finding(AREA, "GPUs", "warn", f"none here, and the config wants {config.engine.precision}", fix)
    if config is not None and config.launch.processes > number:
        fix = f"set launch.processes to {number} or fewer: every process needs a GPU of its own"
        return Finding(AREA, "GPUs", "fail", f"{number} for {config.launch.processes} processes", fix)
    return Finding(AREA, "GPUs", "ok", str(number))


def _gpu(config: Config | None, index: int) -> Iterator[Finding]:
    import torch

    from lrps.engine.machine import used_joules

    name = f"GPU {index}"
    capability, device = torch.cuda.get_device_capability(index), torch.cuda.get_device_name(index)
    free, total = torch.cuda.mem_get_info(index)
    what = f"{device}, compute capability {capability[0]}.{capability[1]}, {size(free)} of {size(total)} free"
    if config is not None and config.engine.precision == "bf16" and capability < BF16_CAPABILITY:
        fix = "set engine.precision: fp32, or take a GPU of compute capability 8.0 or higher"
        yield Finding(AREA, name, "fail", f"{what}; it has no bf16", fix)
    elif free < _MOSTLY_FREE * total:
        fix = "look at `nvidia-smi` for the process that uses it; a process of a killed run may still exist"
        yield Finding(AREA, name, "warn", what, fix)
    else:
        yield Finding(AREA, name, "ok", what)
    if used_joules(torch.device("cuda", index)) is None:
        fix = "run `pip install 'lrps[nvml]'`; without it, and on GPUs without a counter, energy is n/a"
        yield Finding(AREA, f"{name} energy", "warn", "no energy counter can be read", fix)
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


def check_price(subject: Subject) -> Iterator[Finding]:
    """Check that a price is given and not old; nothing without a config."""
    if subject.config is None:
        return
    hardware = subject.config.hardware
    if hardware is None:
        fix = "add `hardware:` with device, devices and mfu (configs/hardware/h100-8.yaml is one)"
        yield Finding("price", "hardware", "warn", "not given: device-hours and costs are not planned", fix)
        return
    if peak_flops(hardware) is None:
        fix = f"add hardware.peak_tflops, or take one of {', '.join(PEAK_TFLOPS)}"
        what = f"the peak of {hardware.device} is not known: device-hours are not planned"
        yield Finding("price", "hardware", "warn", what, fix)
    price = hardware.price_per_device_hour
    if price is None:
        fix = "add hardware.price_per_device_hour: {amount, currency, source, date}"
        yield Finding("price", "price", "warn", "not given: costs are not shown", fix)
        return
    what = f"{price.amount:g} {price.currency} a device-hour, by {price.source}, of {price.date}"
    age = (date.today() - price.date).days
    if age > OLD_PRICE_DAYS:
        yield Finding("price", "price", "warn", f"{what}: {age} days old", "look it up again and give the new date")
    elif age < 0:
        yield Finding("price", "price", "warn", f"{what}: a date in the future", "correct the date")
    else:
        yield Finding("price", "price", "ok", what)
