"""Communication between the ranks of a process group: gathering, asking rank 0, failing together.

Everything here is collective unless it says otherwise: every rank calls it. Without a process group there is one rank.
Must not import deepspeed.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch.distributed as dist

from lrps.base.errors import LrpsError, TrainingError
from lrps.base.typed_json import from_json_values, to_json_values
from lrps.engine.rank_messages import broadcast_json, gather_json

T = TypeVar("T")


def rank() -> int:
    """Return the number of this rank. Not collective."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Return the number of ranks. Not collective."""
    return dist.get_world_size() if dist.is_initialized() else 1


def gather(value: T, kind: Any = None) -> list[T]:
    """Return the values of all ranks, in the order of ranks. They are sent as JSON: keep them small.

    kind: type of the values, as `from_json_values` takes it; by default they are JSON values (no tuples).
    """
    sent = _sendable(value, kind)
    if world_size() == 1:
        return [value]
    return [_restored(each, kind, other) for other, each in enumerate(gather_json(sent))]


def _sendable(value: Any, kind: Any) -> Any:
    """Return a value as JSON values. Raises TypeError if another rank could not restore it."""
    sent = to_json_values(value)
    if kind is None and sent != value:
        raise TypeError(f"{value!r:.80} is sent to other ranks without its type")
    return sent


def _restored(values: Any, kind: Any, other: int) -> Any:
    if kind is None:
        return values
    try:
        return from_json_values(kind, values)
    except ValueError as error:
        raise TrainingError(f"rank {other} has sent {error}; install the same version of lrps on every host") from error


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
    failures = gather(None if failure is None else [_names(known), str(failure) or repr(failure)])
    for other, reported in enumerate(failures):
        if reported is not None:
            names, message = reported
            if failure is not None and _names(known) == names and not alike:
                raise failure
            raise _error_class(names)(message if alike else f"rank {other}: {message}") from failure


def _names(error: type[LrpsError]) -> list[str]:
    """Return the names of a class of errors and its bases, the most special first."""
    return [f"{each.__module__}.{each.__qualname__}" for each in error.__mro__ if issubclass(each, LrpsError)]


def _error_class(names: Sequence[str]) -> type[LrpsError]:
    """Return the most special class with one of these names that this process has imported."""
    known = {_names(each)[0]: each for each in _subclasses(LrpsError)}
    return next((known[name] for name in names if name in known), TrainingError)


def _subclasses(base: type[LrpsError]) -> Iterator[type[LrpsError]]:
    yield base
    for each in base.__subclasses__():
        yield from _subclasses(each)


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


def ask_rank_zero(question: Callable[[], T], kind: Any = None, *, alike: bool = False) -> T:
    """Call `question` on rank 0 and return its result on all ranks. An error on rank 0 is raised on all ranks.

    kind: type of the result, as for `gather`. alike: as for `failing_together`.
    """
    answer: Any = None
    sent: Any = None
    with failing_together(alike=alike):
        if rank() == 0:
            answer = question()
            sent = _sendable(answer, kind)
    if world_size() > 1:
        received = broadcast_json(sent)
        answer = answer if rank() == 0 else _restored(received, kind, 0)
    return cast(T, answer)


def set_collective_timeout(timeout: timedelta) -> None:
    """Set the timeout of all process groups: DeepSpeed creates its own with torch's default."""
    for group in dist.distributed_c10d._world.pg_map:
        dist.distributed_c10d._set_pg_timeout(timeout, group)
