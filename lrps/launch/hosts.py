"""Which hosts and devices there are, and which of them are free: what process groups side by side share out."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path

from lrps.base.errors import ConfigError

LOCAL = "localhost"
_DEVICE_FILES = Path("/dev")
Devices = Mapping[str, tuple[str, ...]]
"""host -> ids of its devices, as CUDA_VISIBLE_DEVICES names them; hosts in the order of ranks."""


def read_hostfile(file: Path) -> dict[str, int]:
    """host -> slots, in the order of the file. Raises ConfigError if it is missing or not in DeepSpeed's format.

    DeepSpeed itself would train on this machine alone where the file is missing.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"launch.hostfile: cannot read {file} ({error.strerror}); name a file of hosts") from None
    hosts: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        found = re.fullmatch(r"(\S+)\s+slots=(\d+)\s*(?:#.*)?", text)
        if found is None or found[1] in hosts or not int(found[2]):
            raise ConfigError(f"{file}:{number}: {text!r}; give every host once, as `node-1 slots=8`")
        hosts[found[1]] = int(found[2])
    if not hosts:
        raise ConfigError(f"{file}: names no host; give one a line, as `node-1 slots=8`")
    return hosts


def devices_here(environment: Mapping[str, str], wanted: int) -> tuple[str, ...] | None:
    """The ids of this machine's devices that may be used; None if training is on the CPU.

    wanted: how many are believed to be there where only the tool of another vendor could tell. Raises ConfigError if
    NVIDIA's tool finds no GPU: a driver that fails is not a wish to train on the CPU.
    """
    nvidia, files = shutil.which("nvidia-smi"), len([*_DEVICE_FILES.glob("nvidia[0-9]*")])
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    named = () if visible is None else tuple(takewhile(_is_device, map(str.strip, visible.split(","))))
    if not (nvidia or files or shutil.which("rocm-smi")) or (visible is not None and not named):
        return None
    if named:
        return named
    if nvidia:
        told = subprocess.run([nvidia, "-L"], capture_output=True, text=True, check=False)
        if not (files := count_devices(told.stdout)):
            said = " ".join(f"{told.stdout} {told.stderr}".split()) or f"it ended with {told.returncode}"
            raise ConfigError(
                f"`nvidia-smi -L` lists no GPU: {said}. Mend the driver, or set CUDA_VISIBLE_DEVICES= (to nothing) to "
                "train on the CPU"
            )
    return tuple(map(str, range(files or wanted)))


def _is_device(name: str) -> bool:
    """Whether CUDA would take it: the first one that it would not hides itself and all behind it."""
    return name.isdecimal() or name.startswith(("GPU-", "MIG-"))


def count_devices(listing: str) -> int:
    """How many GPUs `nvidia-smi -L` lists; slices of a GPU are indented."""
    return sum(line.startswith("GPU ") for line in listing.splitlines())
