"""The rank and the meeting point of a worker that `srun` has started, from the environment of its task.

The launchers of deepspeed and torch set RANK and MASTER_ADDR themselves; their workers are left alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from lrps.base.errors import ConfigError

LAUNCHED_AT = "LRPS_LAUNCHED_AT"
"""Environment variable with the `launch_stamp()` of the launcher's start: the ledger counts starting up as well."""

_FIRST_PORT, _PORTS = 10_000, 20_000
"""Ports below those that systems assign to outgoing connections, which begin at 32768 or higher."""
_JOBS_APART = 31
"""Distance between the first ports of consecutive jobs, which may share a node: 31 steps of a job get ports."""


def rendezvous(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT of a task of `srun`.

    Empty for any other process. MASTER_ADDR and MASTER_PORT are left out if they are set already. Raises ConfigError if
    Slurm names no host, or if the variables that a launcher or a user has set contradict each other.
    """
    task = "SLURM_STEP_ID" in environment and "SLURM_PROCID" in environment
    if "RANK" in environment or not task:
        _check_launched(environment)
        return {}
    tasks = environment.get("SLURM_STEP_NUM_TASKS") or environment.get("SLURM_NTASKS", "1")
    added = {"RANK": environment["SLURM_PROCID"], "WORLD_SIZE": tasks, "LOCAL_RANK": _device(environment)}
    if "MASTER_ADDR" not in environment:
        added["MASTER_ADDR"] = _address(environment)
    if "MASTER_PORT" not in environment:
        added["MASTER_PORT"] = str(_port(environment))
    return added


def _check_launched(environment: Mapping[str, str]) -> None:
    """Raise ConfigError unless the variables of a launcher are all there or all absent."""
    if not {"RANK", "WORLD_SIZE"} & environment.keys():
        return
    wrong = [name for name in ("RANK", "WORLD_SIZE") if not _is_number(environment.get(name, ""))]
    wrong += [name for name in ("LOCAL_RANK",) if not _is_number(environment.get(name, "0"))]
    if not wrong and int(environment["RANK"]) >= int(environment["WORLD_SIZE"]):
        wrong = ["RANK", "WORLD_SIZE"]
    if not wrong and int(environment["WORLD_SIZE"]) > 1:
        wrong += [] if environment.get("MASTER_ADDR") else ["MASTER_ADDR"]
        wrong += [] if _is_number(environment.get("MASTER_PORT", "")) else ["MASTER_PORT"]
    if wrong:
        shown = ", ".join(f"{name}={environment[name]!r}" if name in environment else f"no {name}" for name in wrong)
        raise ConfigError(
            f"the environment has {shown}: a process of a group needs RANK (below WORLD_SIZE), WORLD_SIZE, LOCAL_RANK, "
            "MASTER_ADDR and MASTER_PORT, as deepspeed and torchrun set them. Unset RANK and WORLD_SIZE to train with "
            "one process"
        )


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def first_host(nodes: str) -> str:
    """Return the first host of a list in Slurm's format: `node[01-04,07]`, `a1,b[2-3]`, `rack[1-2]n[08-11]`.

    Raises ConfigError if the list names none.
    """
    # A comma inside brackets belongs to the host.
    found = re.match(r"(?:[^,\[\]\s]|\[[^\[\]]+\])+", nodes.strip())
    if found is None:
        raise ConfigError(f"Slurm's list of nodes is {nodes!r}, which names no host; set MASTER_ADDR to that of rank 0")
    return re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", found[0])


def _address(environment: Mapping[str, str]) -> str:
    if environment.get("SLURM_STEP_NUM_NODES") == "1":
        return "127.0.0.1"  # A node may be unable to reach itself by its name.
    return first_host(environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST", ""))


def _port(environment: Mapping[str, str]) -> int:
    job, step = int(environment.get("SLURM_JOB_ID", "0")), int(environment["SLURM_STEP_ID"])
    return _FIRST_PORT + (job * _JOBS_APART + step) % _PORTS


def _device(environment: Mapping[str, str]) -> str:
    """Return LOCAL_RANK, the number of the task's device: 0 if it sees only one (`--gpus-per-task=1`)."""
    alone = len(environment.get("CUDA_VISIBLE_DEVICES", ",").split(",")) == 1
    return "0" if alone else environment.get("SLURM_LOCALID", "0")
