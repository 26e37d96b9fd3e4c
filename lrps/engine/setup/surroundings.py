"""The environment and the filters of warnings that DeepSpeed needs, set only while it is imported or trains."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_ACCELERATOR = "DS_ACCELERATOR"


@contextmanager
def surroundings_of_deepspeed() -> Iterator[None]:
    """Within the context, let DeepSpeed choose the CPU where there is no GPU, and hide FutureWarnings.

    ZeRO-3 on torch 2.13 raises hundreds of these. The environment and the filters of warnings are as before at the end.
    """
    chosen = not torch.cuda.is_available() and _ACCELERATOR not in os.environ
    if chosen:
        os.environ[_ACCELERATOR] = "cpu"
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning)
            yield
    finally:
        if chosen:
            os.environ.pop(_ACCELERATOR, None)
