"""What the C library does with memory that is freed: on CPUs every step needs the same large pieces again."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_KEPT_BYTES = 2**31 - 1
_FROM_HEAP_BYTES = 2**30


def retain_host_memory() -> bool:
    """Let this process keep what it frees; False where the C library does not.

    One that is not glibc knows no such thing, and an older glibc takes no more than 32 MB for a threshold (mallopt(3)).

    glibc gives pieces above 32 MB back to the system at once, and every page of the next piece is then a page fault:
    a fifth of a step under DeepSpeed, which makes its buckets and flat gradients anew in every step.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _FROM_HEAP_BYTES) and mallopt(_TRIM_THRESHOLD, _KEPT_BYTES))
