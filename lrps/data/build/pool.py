"""Work on many items in several processes of this machine. A dead worker or an error ends all of them at once.

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
from lrps.data.build.documents import Progress

Item = TypeVar("Item")
Result = TypeVar("Result")

GLANCE_SECONDS = 0.2

_progress: Progress
"""Of this worker: set when it starts."""


def available_processes() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


def run_all(
    work: Callable[[Item, Progress], Result], items: Sequence[Item], processes: int, progress: Progress
) -> list[Result]:
    """[work(item, progress) for item in items], by up to `processes` workers; in this process if one is enough.

    work: picklable, and safe to repeat. Whatever it raises is raised here; DataError if a worker died.
    """
    processes = min(processes, len(items))
    if processes <= 1:
        return [work(item, progress) for item in items]
    # Not fork: the tokenizer's threads, and a test's, do not survive it.
    context = get_context("spawn")
    done_bytes = context.Value("q", 0)
    held, lifeline = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(processes, context, _start_worker, (held, done_bytes))
    with held, lifeline, pool:
        try:
            with _interrupt_held_back():
                futures = [pool.submit(_work, work, item) for item in items]
            _watch(futures, lambda: done_bytes.value, progress)
            return [future.result() for future in futures]
        except BaseException as error:
            lifeline.close()  # nobody waits for the parts at hand
            if isinstance(error, BrokenProcessPool):
                raise DataError(
                    "a worker was killed, perhaps for lack of memory (then use fewer of them with --processes). "
                    "What is done is kept: the same command goes on."
                ) from None
            raise


@contextmanager
def _interrupt_held_back() -> Iterator[None]:
    """Ctrl-C comes after the context, and never to a process that is started in it, not even while that one starts.

    The terminal sends it to the workers too, but the lifeline ends them: one traceback is enough.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _watch(futures: Sequence[Future[Result]], done_bytes: Callable[[], int], progress: Progress) -> None:
    """Report progress until all futures are done; raises what the first of them raises."""
    pending, reported = set(futures), 0
    while pending:
        finished, pending = wait(pending, GLANCE_SECONDS, FIRST_EXCEPTION)
        done = done_bytes()
        progress(done - reported)
        reported = done
        for future in finished:
            future.result()


def _start_worker(lifeline: Connection, done_bytes: Any) -> None:
    """Let this worker count what it does, use one core, and end with the process that started it, however that ends."""
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
