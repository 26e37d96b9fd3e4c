"""Execution of the commands of Slurm; no other module runs them."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping

from lrps.base.errors import SchedulerError

_SECONDS = 60.0
"""Time limit of a command: a busy controller answers late."""
_NO_CLUSTER = ("Could not establish a configuration source", "Unable to process configuration file")
_NO_ANSWER = ("Unable to contact slurm controller", "Socket timed out", "authentication error", "Zero Bytes were")
_CLUSTER_VARIABLES = ("SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT", "SLURM_SACK")
"""SLURM_* variables that say which cluster is meant and who the user is."""


def slurm(*words: str) -> str:
    """Return the output of a command of Slurm. Raises SchedulerError if it is not installed, fails or times out."""
    command = shlex.join(words)
    if shutil.which(words[0]) is None:
        raise SchedulerError(f"{words[0]} is not installed here; run this on a login node of the Slurm cluster")
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, errors="replace", timeout=_SECONDS, env=outside_of_jobs(os.environ)
        )
    except subprocess.TimeoutExpired:
        raise SchedulerError(f"`{command}` gave no answer in {_SECONDS:g} s; try again later") from None
    if done.returncode:
        raise SchedulerError(_error_message(command, done))
    return done.stdout


def outside_of_jobs(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a command of Slurm without the variables of a job around it and of queries.

    The variables of a job (SLURM_*, SRUN_*, PMI*) would pass into the jobs that it submits, and the user's filters for
    squeue and sacct would hide jobs.
    """
    foreign = ("SLURM_", "SRUN_", "PMI", "SQUEUE_", "SACCT_")
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(_CLUSTER_VARIABLES) or not name.startswith(foreign)
    }


def _error_message(command: str, done: subprocess.CompletedProcess[str]) -> str:
    output = done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}"
    last = output.splitlines()[-1]
    if any(words in output for words in _NO_CLUSTER):
        return f"Slurm is installed here, but knows no cluster ({last}); run this on a login node, or set SLURM_CONF"
    if any(words in output for words in _NO_ANSWER):
        return (
            f"Slurm's controller does not answer ({last}); look at `scontrol ping` and run the same command once it is "
            "up: queued jobs stay queued"
        )
    return f"`{command}` failed: {output}; fix the cause and run the same lrps command again"
