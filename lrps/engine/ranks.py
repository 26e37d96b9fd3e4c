"""Small agreements between the ranks of a process group: gather, ask rank zero, fail together.

Everything here is collective: every rank calls it. Without a process group there is one rank. Must not import
deepspeed or anything above lrps.base.errors.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch.distributed as dist

from lrps.base.errors import LrpsError, TrainingError

T = TypeVar("T")


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def gather(value: T) -> list[T]:
    """Every rank's `value`, in the order of ranks. Values are pickled: keep them small."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


@contextmanager
def failing_together() -> Iterator[None]:
    """What fails in this block on one rank is raised on all ranks, so that none waits for the others forever.

    The block itself must not contain anything collective. A rank that did not fail raises the same class of
    LrpsError (TrainingError for any other exception) with the number of the rank that did.
    """
    failure: Exception | None = None
    try:
        yield
    except Exception as error:
        failure = error
    known = type(failure) if isinstance(failure, LrpsError) else TrainingError
    failures = gather(None if failure is None else (known, str(failure) or repr(failure)))
    if failure is not None:
        raise failure
    for other, told in enumerate(failures):
        if told is not None:
            kind, message = told
            raise kind(f"rank {other}: {message}")


_LOST = re.compile(r"timed out|timeout|connection (was )?(closed|reset)|broken pipe|socket", re.IGNORECASE)
_REASON_SECONDS = 2.0


@contextmanager
def translate_lost_rank_errors() -> Iterator[None]:
    """What torch raises when another rank is stuck or gone is a TrainingError that says so.

    It is raised a little later, so that a rank that failed for a reason of its own says it first and gives the exit
    code. (NCCL tells of a stuck rank in a thread of its own, which ends the process.)
    """
    try:
        yield
    except RuntimeError as error:
        told = (str(error) or repr(error)).splitlines()[0]
        if world_size() == 1 or not _LOST.search(told):
            raise
        time.sleep(_REASON_SECONDS)
        raise TrainingError(
            f"rank {rank()} lost another process, which failed, was killed or is stuck ({told}); what stands first "
            "above says why. A stuck one is waited for as long as launch.collective_timeout_minutes says"
        ) from error


def ask_rank_zero(question: Callable[[], T]) -> T:
    """Rank zero's answer, on all ranks. What it raises there is raised everywhere."""
    answer: list[Any] = [None]
    with failing_together():
        if rank() == 0:
            answer[0] = question()
    if world_size() > 1:
        dist.broadcast_object_list(answer, src=0)
    return answer[0]
