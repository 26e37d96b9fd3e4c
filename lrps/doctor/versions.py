"""Python and the packages: against the ranges that lrps is installed with, and what is known of them."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from lrps.doctor.examination import Subject
from lrps.doctor.finding import Finding

AREA = "versions"
PYTHON = (3, 11)


def check_versions(_subject: Subject) -> Iterator[Finding]:
    """Light: reads metadata, imports none of the packages."""
    found = platform.python_version()
    if sys.version_info[:2] >= PYTHON:
        yield Finding(AREA, "python", "ok", found)
    else:
        yield Finding(AREA, "python", "fail", f"{found}, lrps needs 3.11", "make the environment with Python 3.11 anew")
    for text in requires("lrps") or ():
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield package(requirement)


def package(requirement: Requirement) -> Finding:
    """Whether a package is there, in a version that serves."""
    name, wanted = requirement.name, str(requirement.specifier) or "any"
    way_out = f"run `pip install '{requirement}'`"
    try:
        found = version(name)
    except PackageNotFoundError:
        return Finding(AREA, name, "fail", f"not installed, lrps needs {wanted}", way_out)
    if requirement.specifier.contains(found, prereleases=True):
        return Finding(AREA, name, "ok", f"{found} ({wanted})")
    if name == "deepspeed":
        way_out += "; the engine and the checkpoints rest on the inside of that version"
    return Finding(AREA, name, "fail", f"{found}, lrps needs {wanted}", way_out)


def has_nvidia_gpu() -> bool:
    """True if the driver of an NVIDIA GPU is loaded, whatever torch can do with it."""
    return Path("/proc/driver/nvidia/version").exists() or Path("/dev/nvidiactl").exists()


def check_torch(_subject: Subject) -> Iterator[Finding]:
    """A torch that cannot use the GPU that is here."""
    import torch

    build = torch.version.cuda or torch.version.hip
    if build is None and has_nvidia_gpu():
        way_out = "install the torch of your CUDA (pytorch.org/get-started); `pip install lrps` never replaces it"
        yield Finding(AREA, "torch build", "fail", "a GPU is here, but this torch is built for CPUs only", way_out)
    elif build is not None and has_nvidia_gpu() and not torch.cuda.is_available():
        way_out = "look at `nvidia-smi`: the driver may be older than this CUDA, or CUDA_VISIBLE_DEVICES hides the GPUs"
        yield Finding(AREA, "torch build", "fail", f"built for CUDA {build}, which sees no GPU here", way_out)
    else:
        yield Finding(AREA, "torch build", "ok", f"for {f'CUDA or ROCm {build}' if build else 'CPUs'}")
