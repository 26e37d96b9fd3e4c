"""What a worker learns of its group from its environment: where the processes meet, and since when devices are held.

`srun` sets no RANK and no MASTER_ADDR; the launchers of deepspeed and torch do, and what they set is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from lrps.base.errors import ConfigError

LAUNCHED_AT = "LRPS_LAUNCHED_AT"
"""Environment variable: `time.time()` at which the launcher was started, so that starting up is booked too."""

_FIRST_PORT, _PORTS = 10_000, 20_000
"""Below the range that systems hand out to outgoing connections, 32768 at the lowest."""
_JOBS_APART = 31
"""Jobs that follow each other may share a node, and so may up to so many steps of each."""


def rendezvous(environment: Mapping[str, str]) -> dict[str, str]:
    """RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT of a task of `srun`; empty for any other process.

    MASTER_ADDR and MASTER_PORT that are set already stand. Raises ConfigError if Slurm names no host.
    """
    task = "SLURM_STEP_ID" in environment and "SLURM_PROCID" in environment
    if "RANK" in environment or not task:
        return {}
    tasks = environment.get("SLURM_STEP_NUM_TASKS") or environment.get("SLURM_NTASKS", "1")
    added = {"RANK": environment["SLURM_PROCID"], "WORLD_SIZE": tasks, "LOCAL_RANK": _device(environment)}
    if "MASTER_ADDR" not in environment:
        added["MASTER_ADDR"] = _address(environment)
    if "MASTER_PORT" not in environment:
        added["MASTER_PORT"] = str(_port(environment))
    return added


def first_host(nodes: str) -> str:
    """The first host of a list as Slurm writes it: `node[01-04,07]`, `a1,b[2-3]`, `rack[1-2]n[08-11]`.

    Raises ConfigError if it names none.
    """
    # A comma inside brackets does not end a host.
    found = re.match(r"(?:[^,\[\]\s]|\[[^\[\]]+\])+", nodes.strip())
    if found is None:
        raise ConfigError(f"Slurm's list of nodes is {nodes!r}, which names no host; set MASTER_ADDR to that of rank 0")
    return re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", found[0])


def _address(environment: Mapping[str, str]) -> str:
    if environment.get("SLURM_STEP_NUM_NODES") == "1":
        return "127.0.0.1"  # A node's name need not lead to it from within.
    return first_host(environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST", ""))


def _port(environment: Mapping[str, str]) -> int:
    job, step = int(environment.get("SLURM_JOB_ID", "0")), int(environment["SLURM_STEP_ID"])
    return _FIRST_PORT + (job * _JOBS_APART + step) % _PORTS


def _device(environment: Mapping[str, str]) -> str:
    """LOCAL_RANK is the number of the device: 0 for a task that is shown one alone (`--gpus-per-task=1`)."""
    alone = len(environment.get("CUDA_VISIBLE_DEVICES", ",").split(",")) == 1
    return "0" if alone else environment.get("SLURM_LOCALID", "0")
