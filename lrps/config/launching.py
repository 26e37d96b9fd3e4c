"""The `launch` section of a config file: where and how training processes are started."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from lrps.base.host_name import host_name_fault
from lrps.config.extensions import PARADIGMS
from lrps.config.values import Float, Int, Private, Section

LauncherName = Literal["local", "deepspeed", "torchrun", "slurm"]
_KINDS = ("main", "branch", "ptfs", "cpt", "wsd-s", "probe")


def _kind_of_path(kind: str) -> str:
    """Return a kind of path. Raises ValueError for one that is neither built in nor the paradigm of a plug-in."""
    if kind not in _KINDS and PARADIGMS.find(kind) is None:
        raise ValueError(f"must be one of {', '.join(_KINDS)}, or the kind of a plug-in's paradigm")
    return kind


PathKind = Annotated[str, AfterValidator(_kind_of_path)]
TimeLimit = Annotated[str, Field(pattern=r"^(\d+-)?\d{1,2}:\d{2}:\d{2}$")]
"""Time limit in Slurm's notation: `12:00:00` or `2-00:00:00`."""


MEETING_FILE = "LRPS_MEETING_FILE"
"""Environment variable with the path of a file by which the ranks of one machine meet, in place of a port."""


class Resources(Section):
    """Resources of the process group of a path."""

    nodes: Annotated[Int, Field(ge=1)] | None = None
    """Number of nodes; by default 1, with launcher deepspeed all hosts of the hostfile."""
    processes: Annotated[Int, Field(ge=1)] | None = None
    """Number of processes on each node; by default launch.processes."""
    partition: str | None = None
    """Partition, in place of launch.slurm.partition."""
    time_limit: TimeLimit | None = None
    """Time limit, in place of launch.slurm.time_limit."""


class SlurmConfig(Section):
    """Options of jobs submitted to Slurm. Every job is a script in <run>/slurm that can be read and edited."""

    partition: str | None = None
    """Partition of the jobs; by default the cluster's."""
    account: str | None = None
    """Account that the jobs are charged to; by default the user's."""
    qos: str | None = None
    """Quality of service of the jobs; by default the account's."""
    time_limit: TimeLimit | None = None
    """Time limit of the jobs, as 12:00:00 or 2-00:00:00; by default the partition's."""
    gres: str | None = "gpu"
    """Generic resource of which every process gets one: `gpu`, `gpu:h100`. null requests none, for clusters that
    allocate whole nodes (`--exclusive`) or have no accelerators."""
    signal_seconds: Annotated[Int, Field(ge=10)] = 120
    """Seconds between the signal that a job gets and its end, at its time limit or at preemption: the job saves and is
    queued again. Must be longer than a save takes."""
    directives: tuple[Private, ...] = ()
    """Additional `#SBATCH` options, such as `--mem=0` or `--exclusive`. Recorded nowhere but in the job scripts."""
    setup: Private = ""
    """Shell lines that every job runs before it starts the processes: modules, environment, network interfaces.
    Recorded nowhere but in the job scripts, which only you can read; better keep keys in a file and source that."""
    template: Path | None = None
    """Path of an edited copy of the batch script launch/slurm/path.sbatch, used in its place."""


class LaunchConfig(Section):
    """Start of the training processes: launcher, hosts, ports and resources."""

    launcher: LauncherName = "local"
    """Launcher: `local`, the deepspeed launcher on this machine; `deepspeed`, the same over the hosts of `hostfile`;
    `torchrun` on this machine; `slurm`, jobs of a Slurm cluster."""
    processes: Annotated[Int, Field(ge=1)] = 1
    """Number of processes on this machine (`local`, `torchrun`), or on each host."""
    hostfile: Path | None = None
    """Hostfile of the deepspeed launcher: a line `HOST slots=N` for every host."""
    master_addr: str | None = None
    """Address of the first host of the hostfile, reachable from all others, at which the processes rendezvous. By
    default the first one that `hostname -I` prints on it."""
    master_port: Annotated[Int, Field(ge=1, le=65535)] | None = None
    """Port of the rendezvous; by default a free port of this machine, or 29500 with a hostfile. Process groups that run
    at the same time use this port and the ones above it."""
    resources: dict[PathKind, Resources] = Field(default_factory=dict)
    """Resources of the process group per kind of path (main, branch, ptfs, cpt, wsd-s, probe), where they are not one
    node with `processes` processes: a branch may have fewer than the main path. By default a probe has those of a
    branch."""
    at_once: Annotated[Int, Field(ge=1)] = 1
    """Number of process groups that may train independent paths at the same time, on devices of their own: a branch
    starts as soon as its branch point is saved, while the main path continues. The group that leads to the most steps
    starts first. With Slurm the cluster decides."""
    threads: Annotated[Int, Field(ge=1)] | None = None
    """Number of CPU threads of each process, in place of OMP_NUM_THREADS; by default what the environment says, or on
    CPUs of this machine the cores divided by the processes. Last digits of losses on CPUs depend on it."""
    paths_per_job: Annotated[Int, Field(ge=1)] | None = None
    """Number of paths that one process group trains one after the other; by default all with the same resources, or one
    if `at_once` is above 1 and with Slurm. Starting a group costs seconds."""
    grace_seconds: Annotated[Float, Field(gt=0)] = 300.0
    """Seconds that the processes have to save after a request to stop, before they are killed. Choose less than the
    cluster leaves between its signal and its kill."""
    collective_timeout_minutes: Annotated[Float, Field(gt=0)] = 30.0
    """Minutes that a process waits for another one that is stuck, before all end. Must be longer than the first process
    takes to read or write a whole checkpoint, because the others wait for that too."""
    slurm: SlurmConfig = SlurmConfig()
    """Options of jobs, for launcher slurm."""

    @field_validator("master_addr")
    @classmethod
    def _is_host(cls, name: str | None) -> str | None:
        if name is not None and (fault := host_name_fault(name)) is not None:
            raise ValueError(fault)
        return name

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
        """Return the resources of the process group of a kind of path, with nodes and processes filled in.

        hosts: number of hosts in the hostfile, if there is one.
        """
        given = self._given(kind)
        return Resources(
            nodes=given.nodes or hosts,
            processes=given.processes or self.processes,
            partition=given.partition or self.slurm.partition,
            time_limit=given.time_limit or self.slurm.time_limit,
        )

    def processes_of(self, kind: str) -> int | None:
        """Return the number of processes of a kind of path; None if only the hostfile states it."""
        given = self._given(kind)
        if self.launcher == "deepspeed" and given.nodes is None:
            return None  # The hostfile is read when something is started.
        return (given.nodes or 1) * (given.processes or self.processes)

    def _given(self, kind: str) -> Resources:
        named = {str(name): resources for name, resources in self.resources.items()}
        return named.get(kind) or (named.get("branch") if kind == "probe" else None) or Resources()

    @property
    def fixed_processes(self) -> int | None:
        """Number of processes on this machine; None if the launcher may start them elsewhere."""
        return self.processes if self.launcher in ("local", "torchrun") else None
