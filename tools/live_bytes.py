"""The bytes of all tensors that are alive on a CPU, and their peak: what torch.cuda.max_memory_allocated is on a GPU.

Every operation's results are seen, in forward, backward and the optimizer, whoever calls it; what a kernel allocates
for itself is not. Under torch.compile nothing is seen.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Counts the storages that were made while it is entered, from their first sight to their end."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        # Collectives let go of tensors in threads of their own.
        self._lock = threading.RLock()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        results = func(*args, **(kwargs or {}))
        for result in tree_leaves(results):
            if isinstance(result, torch.Tensor) and result.device.type == "cpu":
                self._see(result.untyped_storage())
        return results

    def _see(self, storage: Any) -> None:
        with self._lock:
            if getattr(storage, "_counted", False):
                return
            storage._counted = True
            size = storage.nbytes()
            weakref.finalize(storage, self._end, size).atexit = False
            self.now += size
            self.peak = max(self.peak, self.now)

    def _end(self, size: int) -> None:
        with self._lock:
            self.now -= size

    def reset(self) -> None:
        """Let the peak begin anew."""
        self.peak = self.now
