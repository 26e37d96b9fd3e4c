"""Runs Slurm's own commands: the one door to them."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping

from lrps.base.errors import SchedulerError

_SECONDS = 60.0
"""A controller that is busy answers late; one that is gone is given up by the commands themselves."""
_NO_CLUSTER = ("Could not establish a configuration source", "Unable to process configuration file")
_NO_ANSWER = ("Unable to contact slurm controller", "Socket timed out", "authentication error", "Zero Bytes were")
_KEPT = ("SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT", "SLURM_SACK")
"""Where the cluster is and who asks, of the SLURM_* variables."""


def slurm(*words: str) -> str:
    """What a command of Slurm prints. Raises SchedulerError if it is not here, fails or does not answer."""
    shown = shlex.join(words)
    if shutil.which(words[0]) is None:
        raise SchedulerError(f"{words[0]} is not installed here; run this on a login node of the Slurm cluster")
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, errors="replace", timeout=_SECONDS, env=outside_of_jobs(os.environ)
        )
    except subprocess.TimeoutExpired:
        raise SchedulerError(f"`{shown}` gave no answer in {_SECONDS:g} s; try again later") from None
    if done.returncode:
        raise SchedulerError(_what_is_wrong(shown, done))
    return done.stdout


def outside_of_jobs(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for a command of Slurm that means the cluster, wherever it is typed.

    What a job around it was given (SLURM_*, SRUN_*, PMI*) would pass into the jobs that it submits, and what a user
    has set for squeue and sacct would hide jobs.
    """
    foreign = ("SLURM_", "SRUN_", "PMI", "SQUEUE_", "SACCT_")
    return {
        name: value for name, value in environment.items() if name.startswith(_KEPT) or not name.startswith(foreign)
    }


def _what_is_wrong(shown: str, done: subprocess.CompletedProcess[str]) -> str:
    told = done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}"
    last = told.splitlines()[-1]
    if any(words in told for words in _NO_CLUSTER):
        return f"Slurm is installed here, but knows no cluster ({last}); run this on a login node, or set SLURM_CONF"
    if any(words in told for words in _NO_ANSWER):
        return (
            f"Slurm's controller does not answer ({last}); look at `scontrol ping` and run the same command once it is "
            "up: what is in the queue stays there"
        )
    return f"`{shown}` failed: {told}; mend it, and the same command goes on"
