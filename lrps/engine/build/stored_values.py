"""The values of a Hugging Face directory, read unit by unit. Must not import deepspeed.

Only files are read so whose tensors have the names and shapes of the model; transformers joins or renames others when
it loads them (`unread_reason`).
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from lrps.base.errors import ConfigError
from lrps.engine.build.skeleton import Skeleton
from lrps.engine.build.units import Unit
from lrps.engine.build.values import Values
from lrps.engine.loaded import is_finite, not_finite_fault, untied_fault
from lrps.store.model_files import weight_files, weight_shapes


def unread_reason(skeleton: Skeleton, directory: Path) -> str | None:
    """Return why the files of a directory cannot be read unit by unit; None if they can. Reads headers only.

    Raises ConfigError if the directory has no weights.
    """
    from transformers.core_model_loading import revert_weight_conversion

    shapes = weight_shapes(directory)
    wanted = {name: each for name, each in skeleton.model.state_dict().items() if name not in skeleton.ties}
    if missing := next((name for name in wanted if shapes.get(name) != tuple(wanted[name].shape)), None):
        return f"its files do not have {missing} as the model has it"
    stored = revert_weight_conversion(skeleton.model, dict(wanted))
    if changed := next((name for name in wanted if stored.get(name) is not wanted[name]), None):
        return f"transformers converts {changed} when it loads it"
    return None


class StoredValues:
    """Weights and persistent buffers from the files of a directory; `other` gives the buffers that they do not have."""

    fault: str | None = None
    """First weight that must not be trained, as a message; found where this process reads weights."""

    def __init__(self, directory: Path, other: Values, *, buffers_only: bool = False) -> None:
        """buffers_only: leave all parameters to `other`."""
        self._directory, self._other, self._buffers_only = directory, other, buffers_only
        self._files = {name: file for file in weight_files(directory) for name in _names(directory / file)}
        self._where = f"model.checkpoint: {directory}"

    @torch.no_grad()
    def fill(self, skeleton: Skeleton, unit: Unit) -> None:
        """Set all tensors of a unit."""
        read = [name for name in unit.tensors if self._reads(name, skeleton.tensor(name))]
        if len(read) < len(unit.tensors):
            self._other.fill(skeleton, unit)
        for name in read:
            values = self._read(name)
            skeleton.tensor(name).copy_(values)
            self._check(skeleton.ties, name, values)

    def _reads(self, name: str, tensor: Tensor) -> bool:
        return name in self._files and not (self._buffers_only and isinstance(tensor, nn.Parameter))

    def _read(self, name: str) -> Tensor:
        path = self._directory / self._files[name]
        try:
            with safe_open(path, framework="pt") as file:
                tensor: Tensor = file.get_tensor(name)
                return tensor
        except (OSError, SafetensorError) as error:
            raise ConfigError(
                f"{self._where}: {name} cannot be read from {path} on host {socket.gethostname()} ({error}); make the "
                "file readable there, or copy the model again"
            ) from error

    def _check(self, ties: Mapping[str, str], name: str, values: Tensor) -> None:
        """Remember the first weight that is not finite, or differs from the one that it is tied to."""
        if self.fault is not None:
            return
        if not is_finite(values):
            self.fault = not_finite_fault(self._where, name)
        for tied in (tied for tied, source in ties.items() if source == name and tied in self._files):
            if not torch.equal(self._read(tied), values):
                self.fault = untied_fault(self._where, tied, name)


def _names(file: Path) -> list[str]:
    with safe_open(file, framework="pt") as opened:
        names: Any = opened.keys()
        return list(names)
