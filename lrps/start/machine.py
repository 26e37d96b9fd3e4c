"""The GPUs of this machine, by nvidia-smi, so that `lrps init` need not wait for torch."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

from lrps.paths.cost import PEAK_TFLOPS

_QUERY = ("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
_PATIENCE_SECONDS = 30


@dataclass(frozen=True)
class Machine:
    """The devices that a config is written for."""

    device: str = "cpu"
    """Name of the device: `cpu`, one that lrps knows (`H100`), or the product name of another GPU."""
    devices: int = 1
    """Number of GPUs; 1 for a machine without any."""

    @property
    def has_gpu(self) -> bool:
        """True if the devices are GPUs."""
        return self.device != "cpu"

    @property
    def computes_in_bf16(self) -> bool:
        """True for the devices that lrps knows, which all compute in bf16."""
        return self.device in PEAK_TFLOPS


def this_machine() -> Machine:
    """Return the GPUs of this machine, those of the first kind if there are several; without a driver, its CPU."""
    try:
        done = subprocess.run(_QUERY, capture_output=True, text=True, timeout=_PATIENCE_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return Machine()
    return machine_of(done.stdout if done.returncode == 0 else "")


def machine_of(names: str) -> Machine:
    """Return the machine with these GPUs. names: product names as nvidia-smi prints them, one a line."""
    found = [_device_name(line) for line in names.splitlines() if line.strip()]
    return Machine(found[0], found.count(found[0])) if found else Machine()


def _device_name(product: str) -> str:
    """Return the name that lrps has for a product (`NVIDIA H100 80GB HBM3`); the product's own name if it has none."""
    words = product.replace("-", " ").split()
    known = (name for name in PEAK_TFLOPS if all(part in words for part in name.split("-")))
    return max(known, key=len, default=product.strip())
