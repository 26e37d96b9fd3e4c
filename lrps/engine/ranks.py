"""Communication between the ranks of a process group: gathering, asking rank 0, failing together.

Everything here is collective unless it says otherwise: every rank calls it. Without a process group there is one rank.
Must not import deepspeed.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed as dist

from lrps.base.errors import LrpsError, TrainingError

T = TypeVar("T")


def rank() -> int:
    """Return the number of this rank. Not collective."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Return the number of ranks. Not collective."""
    return dist.get_world_size() if dist.is_initialized() else 1


def gather(value: T) -> list[T]:
    """Return the values of all ranks, in the order of ranks. Values are pickled: keep them small."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


@contextmanager
def failing_together(*, alike: bool = False) -> Iterator[None]:
    """Raise an error of this block on all ranks if one of them fails, so that none waits for the others forever.

    The block must not contain anything collective. All ranks raise the class of the first rank that failed
    (TrainingError for what is no LrpsError, which a rank that raised it keeps), so that whoever catches it takes the
    same way on all of them. A rank whose own error is of another class, or that has none, names the first rank. alike:
    all ranks raise the same error, that of the first one, for what is no matter of a rank, such as a file.
    """
    failure: Exception | None = None
    try:
        yield
    except Exception as error:
        failure = error
    known = type(failure) if isinstance(failure, LrpsError) else TrainingError
    failures = gather(None if failure is None else (known, str(failure) or repr(failure)))
    for other, reported in enumerate(failures):
        if reported is not None:
            kind, message = reported
            if failure is not None and known is kind and not alike:
                raise failure
            raise kind(message if alike else f"rank {other}: {message}") from failure


_LOST = re.compile(r"timed out|timeout|connection (was )?(closed|reset)|broken pipe|socket", re.IGNORECASE)
_REASON_SECONDS = 2.0


@contextmanager
def translate_lost_rank_errors() -> Iterator[None]:
    """Turn the error that torch raises when another rank is stuck or gone into a TrainingError that says so.

    It is raised two seconds later, so that the rank that failed first prints its own error and determines the exit
    code. (NCCL reports a stuck rank in a thread of its own, which ends the process.)
    """
    try:
        yield
    except RuntimeError as error:
        message = (str(error) or repr(error)).splitlines()[0]
        if world_size() == 1 or not _LOST.search(message):
            raise
        time.sleep(_REASON_SECONDS)
        raise TrainingError(
            f"rank {rank()} lost another process, which failed, was killed or is stuck ({message}); the first error "
            "above is the reason. Ranks wait for a stuck one for launch.collective_timeout_minutes"
        ) from error


def ask_rank_zero(question: Callable[[], T], *, alike: bool = False) -> T:
    """Call `question` on rank 0 and return its result on all ranks. An error on rank 0 is raised on all ranks.

    alike: as for `failing_together`.
    """
    answer: list[Any] = [None]
    with failing_together(alike=alike):
        if rank() == 0:
            answer[0] = question()
    if world_size() > 1:
        dist.broadcast_object_list(answer, src=0)
    return answer[0]


def set_collective_timeout(timeout: timedelta) -> None:
    """Set the timeout of all process groups: DeepSpeed creates its own with torch's default."""
    for group in dist.distributed_c10d._world.pg_map:
        dist.distributed_c10d._set_pg_timeout(timeout, group)
