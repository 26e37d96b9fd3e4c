"""Where and how training processes are started: the `launch` section of a config file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lrps.config.values import Float, Int, Section

Launcher = Literal["local", "deepspeed", "torchrun", "slurm"]
PathKind = Literal["main", "branch", "ptfs", "cpt", "wsd-s"]
TimeLimit = Annotated[str, Field(pattern=r"^(\d+-)?\d{1,2}:\d{2}:\d{2}$")]
"""As SlurmConfig writes it: `12:00:00` or `2-00:00:00`."""


class Resources(Section):
    """What the process group of a path gets."""

    nodes: Annotated[Int, Field(ge=1)] | None = None
    """By default 1; with launcher deepspeed all hosts of the hostfile."""
    processes: Annotated[Int, Field(ge=1)] | None = None
    """On each node; by default launch.processes."""
    partition: str | None = None
    """Instead of launch.slurm.partition."""
    time_limit: TimeLimit | None = None
    """Instead of launch.slurm.time_limit."""


class SlurmConfig(Section):
    """How jobs are given to SlurmConfig. Every job is a script in <run>/slurm that can be read and edited."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    time_limit: TimeLimit | None = None
    gres: str | None = "gpu"
    """The generic resource that every process gets one of: `gpu`, `gpu:h100`. null asks for none, where nodes are given
    whole (`--exclusive`) or have no accelerators."""
    signal_seconds: Annotated[Int, Field(ge=10)] = 120
    """Before its time limit, and when it is preempted, a job is told so long before the end: it saves and is queued
    again. Longer than a save takes."""
    directives: tuple[str, ...] = ()
    """Further lines for `#SBATCH`, such as `--mem=0` or `--exclusive`."""
    setup: str = ""
    """Shell lines that every job runs before it starts the processes: modules, environment, network interfaces."""
    template: Path | None = None
    """A batch script instead of launch/slurm/path.sbatch, of which it is an edited copy."""


class LaunchConfig(Section):
    """Where the training processes start."""

    launcher: Launcher = "local"
    """`local`: the deepspeed launcher on this machine; `deepspeed`: the same over `hostfile`; `torchrun` on
    this machine; `slurm`: jobs of a SlurmConfig cluster."""
    processes: Annotated[Int, Field(ge=1)] = 1
    """Processes on this machine (`local`, `torchrun`), or on each host."""
    hostfile: Path | None = None
    master_addr: str | None = None
    """With a hostfile: where the processes meet, an address of the first host that all others reach. By default the
    first one that `hostname -I` tells there."""
    master_port: Annotated[Int, Field(ge=1, le=65535)] | None = None
    """By default a free port of this machine, or 29500 with a hostfile. Groups at work at the same time take this one
    and those above it."""
    resources: dict[PathKind, Resources] = Field(default_factory=dict)
    """Per kind of path (main, branch, ptfs, cpt, wsd-s) what its process group gets, where it is not one node with
    `processes` processes: a branch may have fewer than the main path."""
    at_once: Annotated[Int, Field(ge=1)] = 1
    """Process groups of independent paths at work at the same time, on devices of their own: a branch trains as soon
    as its branch point is saved, while the main path goes on. With SlurmConfig the cluster decides."""
    paths_per_job: Annotated[Int, Field(ge=1)] | None = None
    """Paths that one process group trains in a row; null means all that have the same resources, or one where
    `at_once` is above 1 and with SlurmConfig. Starting a group costs seconds."""
    grace_seconds: Annotated[Float, Field(gt=0)] = 300.0
    """How long the processes may take to save once they were asked to stop; then they are killed. Stay below what the
    cluster leaves between its signal and its kill."""
    collective_timeout_minutes: Annotated[Float, Field(gt=0)] = 30.0
    """How long a process waits for another one that is stuck; then all end. Longer than the first process takes to
    read or write a whole checkpoint, since the others wait for that too."""
    slurm: SlurmConfig = SlurmConfig()

    @model_validator(mode="after")
    def _hosts(self) -> Self:
        if self.launcher == "deepspeed" and self.hostfile is None:
            raise ValueError("launcher deepspeed needs 'hostfile'; launcher local starts on this machine")
        for kind, resources in self.resources.items():
            if self.launcher in ("local", "torchrun") and (resources.nodes or 1) > 1:
                raise ValueError(
                    f"resources.{kind}.nodes {resources.nodes}: launcher {self.launcher} starts on this machine only; "
                    "take launcher deepspeed with a hostfile, or slurm"
                )
        return self

    def resources_of(self, kind: str, hosts: int = 1) -> Resources:
        """What the process group of a kind of path gets, with nodes and processes filled in.

        hosts: how many the hostfile has, where there is one.
        """
        given = next((resources for known, resources in self.resources.items() if known == kind), Resources())
        return Resources(
            nodes=given.nodes or hosts,
            processes=given.processes or self.processes,
            partition=given.partition or self.slurm.partition,
            time_limit=given.time_limit or self.slurm.time_limit,
        )
