"""Runs Slurm's own commands: the one door to them."""

from __future__ import annotations

import shlex
import shutil
import subprocess

from lrps.errors import SchedulerError

_SECONDS = 60.0
"""A controller that is busy answers late; one that is gone is given up by the commands themselves."""


def slurm(*words: str) -> str:
    """What a command of Slurm prints. Raises SchedulerError if it is not here, fails or does not answer."""
    shown = shlex.join(words)
    if shutil.which(words[0]) is None:
        raise SchedulerError(f"{words[0]} is not installed here; run this on a login node of the Slurm cluster")
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        raise SchedulerError(f"`{shown}` gave no answer in {_SECONDS:g} s; try again later") from None
    if done.returncode:
        told = done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}"
        raise SchedulerError(f"`{shown}` failed: {told}; mend it, and the same command goes on")
    return done.stdout
