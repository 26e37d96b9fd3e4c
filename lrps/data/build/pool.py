"""A pool of processes of this machine that is stopped as a whole by an error or a dead worker.

Must not import torch or webdataset.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from lrps.base.errors import DataError
from lrps.data.build.file_range import Progress

Item = TypeVar("Item")
Result = TypeVar("Result")

PROGRESS_SECONDS = 0.2

_progress: Progress
"""Progress callback of this worker process, set when it starts."""


def available_processes() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def run_all(
    work: Callable[[Item, Progress], Result], items: Sequence[Item], processes: int, progress: Progress
) -> list[Result]:
    """Return [work(item, progress) for item in items], computed by up to `processes` workers.

    One process is this process itself. work: picklable, and safe to repeat. Raises what it raises, and DataError if a
    worker died.
    """
    processes = min(processes, len(items))
    if processes <= 1:
        return [work(item, progress) for item in items]
    # Not fork: it would lose the threads of the tokenizer, and of a test.
    context = get_context("spawn")
    done_bytes = context.Value("q", 0)
    workers_end, lifeline = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(processes, context, _start_worker, (workers_end, done_bytes))
    with workers_end, lifeline, pool:
        try:
            with _interrupt_deferred():
                futures = [pool.submit(_work, work, item) for item in items]
            _watch(futures, lambda: done_bytes.value, progress)
            return [future.result() for future in futures]
        except BaseException as error:
            lifeline.close()  # Ends the workers without waiting for their items.
            if isinstance(error, BrokenProcessPool):
                raise DataError(
                    "a worker was killed, perhaps for lack of memory (if so, lower --processes). Finished parts are "
                    "kept: run the same command again to continue."
                ) from None
            raise


@contextmanager
def _interrupt_deferred() -> Iterator[None]:
    """Block SIGINT (Ctrl-C) until the context ends; processes started in it keep it blocked.

    The terminal sends SIGINT to the workers too. They are ended by the lifeline instead, without tracebacks.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _watch(futures: Sequence[Future[Result]], done_bytes: Callable[[], int], progress: Progress) -> None:
    """Report progress until all futures are done. Raises what the first failed future raises."""
    pending, reported = set(futures), 0
    while pending:
        finished, pending = wait(pending, PROGRESS_SECONDS, FIRST_EXCEPTION)
        done = done_bytes()
        progress(done - reported)
        reported = done
        for future in finished:
            future.result()


def _start_worker(lifeline: Connection, done_bytes: Any) -> None:
    """Set up this worker: count its progress, use one core, and exit when the parent closes the lifeline or dies."""
    global _progress

    def progress(count: int) -> None:
        with done_bytes.get_lock():
            done_bytes.value += count

    def end_with_the_pool() -> None:
        lifeline.poll(None)
        os._exit(1)

    _progress = progress
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    threading.Thread(target=end_with_the_pool, daemon=True).start()


def _work(work: Callable[[Item, Progress], Result], item: Item) -> Result:
    return work(item, _progress)
