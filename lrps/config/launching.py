"""Where and how training processes are started: the `launch` section of a config file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lrps.config.values import Float, Int, Section

Launcher = Literal["local", "deepspeed", "torchrun", "slurm"]
PathKind = Literal["main", "branch", "ptfs", "cpt", "wsd-s"]
TimeLimit = Annotated[str, Field(pattern=r"^(\d+-)?\d{1,2}:\d{2}:\d{2}$")]
"""As Slurm writes it: `12:00:00` or `2-00:00:00`."""


class Resources(Section):
    """What the process group of a path gets."""

    nodes: Annotated[Int, Field(ge=1)] = 1
    processes: Annotated[Int, Field(ge=1)] | None = None
    """On each node; by default launch.processes."""
    partition: str | None = None
    """Instead of launch.slurm.partition."""
    time_limit: TimeLimit | None = None
    """Instead of launch.slurm.time_limit."""


class Slurm(Section):
    """How jobs are given to Slurm. Every job is a script in <run>/slurm that can be read and edited."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    time_limit: TimeLimit | None = None
    signal_seconds: Annotated[Int, Field(ge=10)] = 120
    """Before its time limit, and when it is preempted, a job is told so long before the end: it saves and is queued
    again. Longer than a save takes."""
    directives: tuple[str, ...] = ()
    """Further lines for `#SBATCH`, such as `--mem=0` or `--exclusive`."""
    setup: str = ""
    """Shell lines that every job runs before it starts the processes: modules, environment, network interfaces."""


class Launch(Section):
    """Where the training processes start."""

    launcher: Launcher = "local"
    """`local`: the deepspeed launcher on this machine; `deepspeed`: the same over `hostfile`; `torchrun` on
    this machine; `slurm`: jobs of a Slurm cluster."""
    processes: Annotated[Int, Field(ge=1)] = 1
    """Processes on this machine (`local`, `torchrun`), or on each host."""
    hostfile: Path | None = None
    master_port: Annotated[Int, Field(ge=1, le=65535)] | None = None
    """By default a free port of this machine, or 29500 with a hostfile."""
    resources: dict[PathKind, Resources] = Field(default_factory=dict)
    """Per kind of path (main, branch, ptfs, cpt, wsd-s) what its process group gets, where it is not one node with
    `processes` processes: a branch may have fewer than the main path."""
    at_once: Annotated[Int, Field(ge=1)] = 1
    """Process groups of independent paths at work at the same time on this machine; with Slurm the cluster decides."""
    paths_per_job: Annotated[Int, Field(ge=1)] | None = None
    """Paths that one process group trains in a row; null means all. Starting a group costs seconds."""
    grace_seconds: Annotated[Float, Field(gt=0)] = 300.0
    """How long the processes may take to save once they were asked to stop; then they are killed. Stay below what the
    cluster leaves between its signal and its kill."""
    collective_timeout_minutes: Annotated[Float, Field(gt=0)] = 30.0
    """How long a process waits for another one that is stuck; then all end. Longer than the first process takes to
    read or write a whole checkpoint, since the others wait for that too."""
    slurm: Slurm = Slurm()

    @model_validator(mode="after")
    def _hosts(self) -> Self:
        if self.launcher == "deepspeed" and self.hostfile is None:
            raise ValueError("launcher deepspeed needs 'hostfile'; launcher local starts on this machine")
        return self
