"""Checks of what compiles at run time: torch.compile, and the ops of DeepSpeed, which lrps itself does not use."""

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
"""Age above which a lock belongs to a build that has died; the longest build that was measured took 97 s."""


def check_ops(subject: Subject) -> Iterator[Finding]:
    """Check the compiler, ninja, CUDA's compiler and locks that dead builds have left."""
    compiles = subject.config is not None and subject.config.engine.compile
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler):
        yield Finding(AREA, "compiler", "ok", str(shutil.which(compiler)))
    else:
        why = "engine.compile needs it" if compiles else "only engine.compile and DeepSpeed's own ops would need it"
        fix = "install g++ (apt-get install build-essential), or set CXX to a C++ compiler"
        yield Finding(AREA, "compiler", "fail" if compiles else "warn", f"no {compiler}; {why}", fix)
    if shutil.which("ninja"):
        yield Finding(AREA, "ninja", "ok", str(shutil.which("ninja")))
    else:
        fix = "run `pip install ninja` and add its folder to PATH"
        yield Finding(AREA, "ninja", "warn", "not in PATH; DeepSpeed's own ops cannot be built", fix)
    yield from _cuda_compiler()
    yield from stale_locks(extensions())


def extensions() -> Path:
    """Return the directory in which torch builds ops."""
    return Path(os.environ.get("TORCH_EXTENSIONS_DIR", "~/.cache/torch_extensions")).expanduser()


def stale_locks(root: Path) -> Iterator[Finding]:
    """Check for locks of builds that were killed: the next process that needs the op waits for them forever."""
    locks = [*root.glob("*/lock"), *root.glob("*/*/lock")]
    if not locks:
        yield Finding(AREA, "op cache", "ok", f"no build holds a lock in {root}")
    for lock in locks:
        age = time.time() - lock.stat().st_mtime
        if age > STALE_SECONDS:
            what = f"{lock} is {age / 60:.0f} minutes old: its build is dead, and the next one waits for it forever"
            yield Finding(AREA, "op cache", "fail", what, f"if no build is running, run `rm {lock}`")
        else:
            what = f"{lock} is {age:.0f} s old: a build is running, or was killed just now"
            yield Finding(AREA, "op cache", "warn", what, "wait for it; remove the lock if no compiler is running")


def _cuda_compiler() -> Iterator[Finding]:
    import torch

    if torch.version.cuda is None:
        return
    home = os.environ.get("CUDA_HOME")
    nvcc = shutil.which(f"{home}/bin/nvcc" if home else "nvcc")
    if nvcc is None:
        fix = "nothing, unless you want a DeepSpeed op: then install the CUDA toolkit and set CUDA_HOME"
        yield Finding(AREA, "nvcc", "warn", "not found; lrps does not need it", fix)
        return
    output = subprocess.run([nvcc, "--version"], capture_output=True, text=True, timeout=20).stdout
    release = re.search(r"release (\d+)\.(\d+)", output)
    if release is None or release[1] != torch.version.cuda.split(".")[0]:
        found = release[0] if release else "of an unknown release"
        fix = f"set CUDA_HOME to a toolkit of CUDA {torch.version.cuda}, if you want a DeepSpeed op"
        yield Finding(AREA, "nvcc", "warn", f"{nvcc} is {found}, torch of CUDA {torch.version.cuda}", fix)
    else:
        yield Finding(AREA, "nvcc", "ok", f"{nvcc}, {release[0]}")
