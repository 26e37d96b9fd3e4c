"""The interface of a launcher: the size of process groups, the devices that they share, and the command of a job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Protocol

from lrps.config.launching import LaunchConfig, Resources
from lrps.launch.hosts import Devices
from lrps.launch.process_group import Allocation, LaunchCommand, ProcessGroupJob


class Launcher(Protocol):
    """A way to start process groups, made from the `launch` section of a config."""

    name: ClassVar[str]
    """Value of `launch.launcher` that selects this launcher."""
    single_host: ClassVar[bool]
    """Whether all processes of a group run on this machine."""
    launch: LaunchConfig

    def __init__(self, launch: LaunchConfig) -> None:
        self.launch = launch

    @property
    def concurrent(self) -> bool:
        """Whether independent process groups may run at the same time."""
        return self.launch.at_once > 1

    def resources_of(self, kind: str) -> Resources:
        """Return the resources of the process group of a kind of path, with `nodes` and `processes` filled in."""
        return self.launch.resources_of(kind)


class HostLauncher(Launcher, Protocol):
    """A launcher on hosts whose devices lrps allocates; lrps starts its processes and waits for them."""

    first_port: ClassVar[int | None]
    """Port of the first process group where `launch.master_port` is not set; None for a free port of this machine."""

    def find_devices(self, environment: Mapping[str, str], processes: int) -> Devices | None:
        """Return the devices that process groups may use; None if the processes share the CPUs of this machine.

        environment: of this process. processes: of the largest group, on each node.
        """

    def worker_environment(self, environment: Mapping[str, str], cpu_processes: int | None) -> dict[str, str]:
        """Return the variables that the workers of every group get.

        environment: of this process; what the user has set there takes precedence. cpu_processes: number of processes
        that share the CPUs of this machine; None on GPUs.
        """

    def command(self, job: ProcessGroupJob, allocation: Allocation, environment: Mapping[str, str]) -> LaunchCommand:
        """Return the command that starts a job on the devices allocated to it.

        environment: variables that its workers get, GROUP among them where they are to be signalled on other hosts.
        """
