"""Hosts and their devices: hostfiles, and the GPUs of this machine that may be used."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path

from lrps.base.errors import ConfigError
from lrps.base.files import located
from lrps.base.host_name import host_name_fault

LOCAL = "localhost"
_DEVICE_FILES = Path("/dev")
Devices = Mapping[str, tuple[str, ...]]
"""Host -> ids of its devices as in CUDA_VISIBLE_DEVICES; hosts are in the order of ranks."""


def read_hostfile(file: Path) -> dict[str, int]:
    """Return host -> slots, in the order of the file.

    Raises ConfigError if the file is missing (DeepSpeed itself would train on this machine alone), not in DeepSpeed's
    format, or names a host that cannot be passed to a launcher.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise ConfigError(f"launch.hostfile: {file} is no text; name a file of hosts") from None
    except OSError as error:
        where = located(file)
        raise ConfigError(f"launch.hostfile: cannot read {where} ({error.strerror}); name a file of hosts") from None
    hosts: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        found = re.fullmatch(r"(\S+)\s+slots=(\d+)\s*(?:#.*)?", text)
        if found is None or found[1] in hosts or not int(found[2]):
            raise ConfigError(f"{file}:{number}: {text!r}; give every host once, as `node-1 slots=8`")
        if (fault := host_name_fault(found[1])) is not None:
            raise ConfigError(f"{file}:{number}: {fault}")
        hosts[found[1]] = int(found[2])
    if not hosts:
        raise ConfigError(f"{file}: names no host; give one a line, as `node-1 slots=8`")
    return hosts


def devices_here(environment: Mapping[str, str], expected: int) -> tuple[str, ...] | None:
    """Return the ids of the GPUs of this machine that may be used; None if training is on the CPU.

    environment: of this process, for CUDA_VISIBLE_DEVICES. expected: number of GPUs to assume if the GPUs are not
    NVIDIA's, because only nvidia-smi is asked for a list. Raises ConfigError if nvidia-smi lists no GPU: a driver that
    fails does not mean that the user wants the CPU.
    """
    nvidia, files = shutil.which("nvidia-smi"), len([*_DEVICE_FILES.glob("nvidia[0-9]*")])
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    named = () if visible is None else tuple(takewhile(_is_device, map(str.strip, visible.split(","))))
    if not (nvidia or files or shutil.which("rocm-smi")) or (visible is not None and not named):
        return None
    if named:
        return named
    if nvidia:
        listing = subprocess.run([nvidia, "-L"], capture_output=True, text=True, check=False)
        if not (files := count_devices(listing.stdout)):
            output = " ".join(f"{listing.stdout} {listing.stderr}".split()) or f"exit code {listing.returncode}"
            raise ConfigError(
                f"`nvidia-smi -L` lists no GPU: {output}. Repair the driver, or set CUDA_VISIBLE_DEVICES= (to nothing) "
                "to train on the CPU"
            )
    return tuple(map(str, range(files or expected)))


def _is_device(name: str) -> bool:
    """Return whether CUDA accepts the name of a device; it ignores the first one that it does not and all after it."""
    return name.isdecimal() or name.startswith(("GPU-", "MIG-"))


def count_devices(listing: str) -> int:
    """Return the number of GPUs in the output of `nvidia-smi -L`, in which the slices of a GPU are indented."""
    return sum(line.startswith("GPU ") for line in listing.splitlines())
