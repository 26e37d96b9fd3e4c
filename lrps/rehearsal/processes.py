"""Processes of one machine that divide the generations of a set, one on each GPU or each with a part of the cores."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

import torch

from lrps.base.errors import GenerationError
from lrps.plan.plan import Plan
from lrps.rehearsal.share import GenerationShare

WriteShare = Callable[[Plan, str, GenerationShare], bool]
"""Function that writes a share of a set, from the plan and the set's name; it returns whether no share is missing."""


def default_processes() -> int:
    """Return the number of GPUs of this machine, 1 without one."""
    return max(1, torch.cuda.device_count())


def run_processes(write: WriteShare, plan: Plan, name: str, share: GenerationShare, processes: int) -> None:
    """Write a share by several processes, a part of it each, until they have written theirs of every stage.

    Raises the error of a process that fails, and GenerationError if one is killed.
    """
    parts = [share.part(number, processes) for number in range(processes)]
    # A second round writes the stage for which the first had to wait for the slowest.
    for _ in range(2):
        with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
            asked = [pool.submit(_write, write, plan, name, part, k, processes) for k, part in enumerate(parts)]
            try:
                complete = [one.result() for one in asked]
            except BrokenProcessPool:
                raise GenerationError(
                    f"{name}: one of {processes} processes was killed, perhaps because memory is short; run the same "
                    "command again to continue, with lower --processes if it happens again"
                ) from None
        if all(complete):
            return


def _write(write: WriteShare, plan: Plan, name: str, part: GenerationShare, number: int, processes: int) -> bool:
    """Write a part in this process, on its own GPU and with its part of the cores."""
    if torch.cuda.is_available():
        torch.cuda.set_device(number % torch.cuda.device_count())
    torch.set_num_threads(threads_each(processes))
    return write(plan, name, part)


def threads_each(processes: int) -> int:
    """Return the number of threads of each of several processes, by the cores that they may use."""
    return max(1, len(os.sched_getaffinity(0)) // processes)
