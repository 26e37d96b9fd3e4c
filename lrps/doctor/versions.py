"""Checks of the versions of Python and the packages against the requirements of lrps."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from lrps.base.torch_version import SAFE_TORCH, unpickles_safely
from lrps.doctor.examination import Subject
from lrps.doctor.finding import Finding

AREA = "versions"
PYTHON = (3, 11)


def check_versions(_subject: Subject) -> Iterator[Finding]:
    """Check Python and all required packages from their metadata, without importing them."""
    found = platform.python_version()
    if sys.version_info[:2] >= PYTHON:
        yield Finding(AREA, "python", "ok", found)
    else:
        yield Finding(
            AREA, "python", "fail", f"{found}, lrps needs 3.11", "create the environment again with Python 3.11"
        )
    for text in requires("lrps") or ():
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield package(requirement)


def package(requirement: Requirement) -> Finding:
    """Return whether a package is installed in a version that lrps works with."""
    name, wanted = requirement.name, str(requirement.specifier) or "any"
    fix = f"run `pip install '{requirement}'`"
    try:
        found = version(name)
    except PackageNotFoundError:
        return Finding(AREA, name, "fail", f"not installed, lrps needs {wanted}", fix)
    if requirement.specifier.contains(found, prereleases=True):
        return Finding(AREA, name, "ok", f"{found} ({wanted})")
    if name == "deepspeed":
        fix += "; the engine and the checkpoints depend on internals of that version"
    return Finding(AREA, name, "fail", f"{found}, lrps needs {wanted}", fix)


def has_nvidia_gpu() -> bool:
    """Return whether the driver of an NVIDIA GPU is loaded, whether or not torch can use it."""
    return Path("/proc/driver/nvidia/version").exists() or Path("/dev/nvidiactl").exists()


def check_torch(_subject: Subject) -> Iterator[Finding]:
    """Check that torch can use the GPU of this machine, if there is one. Loads torch."""
    import torch

    if not unpickles_safely(torch.__version__):
        what = f"torch {torch.__version__} can be made to run code by prepared .pt files (CVE-2026-24747)"
        fix = f"install torch {SAFE_TORCH} or newer; until then lrps reads no checkpoint of DeepSpeed"
        yield Finding(AREA, "torch.load", "warn", what, fix)
    build = torch.version.cuda or torch.version.hip
    if build is None and has_nvidia_gpu():
        fix = "install the torch of your CUDA (pytorch.org/get-started); `pip install lrps` never replaces it"
        yield Finding(AREA, "torch build", "fail", "there is a GPU, but this torch is built for CPUs only", fix)
    elif build is not None and has_nvidia_gpu() and not torch.cuda.is_available():
        fix = "look at `nvidia-smi`: the driver may be older than this CUDA, or CUDA_VISIBLE_DEVICES hides the GPUs"
        yield Finding(AREA, "torch build", "fail", f"built for CUDA {build}, which sees no GPU here", fix)
    else:
        yield Finding(AREA, "torch build", "ok", f"for {f'CUDA or ROCm {build}' if build else 'CPUs'}")
