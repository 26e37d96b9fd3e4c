"""A span of virtual memory that has an address for every file of a version.

Rows of any shards can then be gathered by one numpy call, as fast as from a single memory map. Reserving addresses
takes neither memory nor disk; a file is mapped, read-only, when it is needed. Python's mmap cannot map a file at a
given address, so this module calls the C library. Must not import other modules of lrps.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import weakref
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np
from numpy.lib.stride_tricks import as_strided

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_FAILED = ctypes.c_void_p(-1).value
_FIXED = 0x10
_PROT_NONE = 0
_NO_FILE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS


class Span:
    """Reserved addresses for files of the given sizes, none of them mapped yet. Freed with the object.

    Reading an address where no file is mapped kills the process (SIGSEGV): call `map` first. `starts[k]` is the
    address of file k.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        rounded = [-(-size // mmap.PAGESIZE) * mmap.PAGESIZE for size in sizes]
        self._sizes = list(sizes)
        self._bytes = max(sum(rounded), mmap.PAGESIZE)
        self.start = _map(None, self._bytes, _PROT_NONE, _NO_FILE, -1)
        self.stop = self.start + self._bytes
        self.starts = self.start + np.cumsum([0, *rounded[:-1]], dtype=np.int64)
        # Not at exit: another thread may still read then, and the system frees the addresses anyway.
        weakref.finalize(self, _libc.munmap, self.start, self._bytes).atexit = False

    def map(self, number: int, file: BinaryIO, *, read_ahead: bool = False) -> None:
        """Map an open file at its reserved address.

        Raises ValueError if the file has another size than was reserved, OSError if the system refuses.
        """
        address, size = int(self.starts[number]), self._sizes[number]
        if (found := os.fstat(file.fileno()).st_size) != size:
            raise ValueError(f"{file.name} has {found} bytes, {size} expected")
        _map(address, size, mmap.PROT_READ, mmap.MAP_SHARED | _FIXED, file.fileno())
        if read_ahead:
            _libc.madvise(address, size, mmap.MADV_WILLNEED)

    def unmap(self, number: int) -> None:
        """Unmap a file; its addresses stay reserved."""
        _map(int(self.starts[number]), self._sizes[number], _PROT_NONE, _NO_FILE | _FIXED, -1)

    def bytes_at(self, address: int, size: int) -> memoryview:
        """Return `size` bytes of a mapped file, without copying them."""
        return memoryview((ctypes.c_char * size).from_address(address)).cast("B")


def rows_between(start: int, stop: int, dtype: np.dtype, length: int) -> np.ndarray:
    """Return a view of the addresses [start, stop) in which row i is the `length` items from start + i * itemsize.

    The rows overlap; index the view with an array of row numbers to gather. The spans must outlive the view.
    """
    memory = memoryview((ctypes.c_char * (stop - start)).from_address(start))
    items: np.ndarray = np.frombuffer(memory, dtype)
    shape = (max(len(items) - length + 1, 0), length)
    return as_strided(items, shape, (dtype.itemsize, dtype.itemsize), writeable=False)


def _map(address: int | None, size: int, protection: int, flags: int, descriptor: int) -> int:
    found = _libc.mmap(address, size, protection, flags, descriptor, 0)
    if found == _FAILED:
        number = ctypes.get_errno()
        raise OSError(
            number, f"cannot map {size} bytes ({os.strerror(number)}); raise `ulimit -v` or `sysctl vm.max_map_count`"
        )
    return found
