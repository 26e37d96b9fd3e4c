"""What compiles at run time: DeepSpeed's ops and torch.compile. lrps itself trains without any of DeepSpeed's ops."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from lrps.doctor.examination import Subject
from lrps.doctor.finding import Finding

AREA = "ops"
STALE_SECONDS = 600.0
"""A lock that is older belongs to no build that is at work: the longest one took 97 s."""


def check_ops(subject: Subject) -> Iterator[Finding]:
    """The compiler, ninja, CUDA's compiler and locks that dead builds have left."""
    compiles = subject.config is not None and subject.config.engine.compile
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler):
        yield Finding(AREA, "compiler", "ok", str(shutil.which(compiler)))
    else:
        why = "engine.compile needs it" if compiles else "only engine.compile and DeepSpeed's own ops would need it"
        way_out = "install g++ (apt-get install build-essential), or set CXX to a C++ compiler"
        yield Finding(AREA, "compiler", "fail" if compiles else "warn", f"no {compiler}; {why}", way_out)
    if shutil.which("ninja"):
        yield Finding(AREA, "ninja", "ok", str(shutil.which("ninja")))
    else:
        way_out = "run `pip install ninja` and have its folder in PATH"
        yield Finding(AREA, "ninja", "warn", "not in PATH; DeepSpeed's own ops cannot be built", way_out)
    yield from _cuda_compiler()
    yield from stale_locks(extensions())


def extensions() -> Path:
    """Where torch builds ops."""
    return Path(os.environ.get("TORCH_EXTENSIONS_DIR", "~/.cache/torch_extensions")).expanduser()


def stale_locks(root: Path) -> Iterator[Finding]:
    """A build that was killed leaves its lock, and whoever needs the op next waits for it for ever."""
    locks = [*root.glob("*/lock"), *root.glob("*/*/lock")]
    if not locks:
        yield Finding(AREA, "op cache", "ok", f"no build holds a lock in {root}")
    for lock in locks:
        age = time.time() - lock.stat().st_mtime
        if age > STALE_SECONDS:
            what = f"{lock} is {age / 60:.0f} minutes old: its build is dead, and the next one waits for it for ever"
            yield Finding(AREA, "op cache", "fail", what, f"if no build is at work, run `rm {lock}`")
        else:
            what = f"{lock} is {age:.0f} s old: a build is at work, or was killed just now"
            yield Finding(AREA, "op cache", "warn", what, "wait for it; remove the lock if no compiler is at work")


def _cuda_compiler() -> Iterator[Finding]:
    import torch

    if torch.version.cuda is None:
        return
    home = os.environ.get("CUDA_HOME")
    nvcc = shutil.which(f"{home}/bin/nvcc" if home else "nvcc")
    if nvcc is None:
        way_out = "nothing, unless a DeepSpeed op is wanted: then install the CUDA toolkit and set CUDA_HOME"
        yield Finding(AREA, "nvcc", "warn", "not found; lrps does without", way_out)
        return
    told = subprocess.run([nvcc, "--version"], capture_output=True, text=True, timeout=20).stdout
    release = re.search(r"release (\d+)\.(\d+)", told)
    if release is None or release[1] != torch.version.cuda.split(".")[0]:
        found = release[0] if release else "of no known release"
        way_out = f"set CUDA_HOME to a toolkit of CUDA {torch.version.cuda}, if a DeepSpeed op is wanted"
        yield Finding(AREA, "nvcc", "warn", f"{nvcc} is {found}, torch of CUDA {torch.version.cuda}", way_out)
    else:
        yield Finding(AREA, "nvcc", "ok", f"{nvcc}, {release[0]}")
