"""Training inside a process of the user, such as the kernel of a notebook, which is as before afterwards."""

from __future__ import annotations

import faulthandler
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def process_as_before(threads: int | None = None) -> Iterator[None]:
    """Restore environment, filters of warnings, threads of torch and its random state when the context ends.

    threads: number of CPU threads of torch within the context; by default as before.
    """
    environment, used, is_enabled = dict(os.environ), torch.get_num_threads(), faulthandler.is_enabled()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices):
            if threads is not None:
                torch.set_num_threads(threads)
            yield
    finally:
        torch.set_num_threads(used)
        if not is_enabled:
            faulthandler.disable()
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)
