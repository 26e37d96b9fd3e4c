"""Allocation of the devices and ports of a run to its process groups."""

from __future__ import annotations

import random
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from lrps.base.errors import ConfigError
from lrps.launch.hosts import LOCAL, Devices
from lrps.launch.launchers.launcher import HostLauncher
from lrps.launch.process_group import Allocation, ProcessGroupJob

FREE_PORTS = range(10_000, 30_000)
"""Ports for process groups of this machine, below those that systems assign to outgoing connections."""


class DevicePool:
    """Devices of hosts that are allocated and released."""

    def __init__(self, devices: Devices) -> None:
        self._all = dict(devices)
        self._free = {host: list(ids) for host, ids in devices.items()}

    def fits(self, nodes: int, processes: int) -> bool:
        """Return whether a group of that size can be allocated once all devices are free."""
        return sum(len(ids) >= processes for ids in self._all.values()) >= nodes

    def allocate(self, nodes: int, processes: int) -> Devices | None:
        """Allocate `processes` devices on each of `nodes` hosts; return None while too few are free."""
        hosts = [host for host, ids in self._free.items() if len(ids) >= processes][:nodes]
        if len(hosts) < nodes:
            return None
        devices = {host: tuple(self._free[host][:processes]) for host in hosts}
        for host in hosts:
            del self._free[host][:processes]
        return devices

    def release(self, devices: Devices) -> None:
        """Make allocated devices free again."""
        for host, ids in devices.items():
            free = {*self._free[host], *ids}
            self._free[host] = [each for each in self._all[host] if each in free]

    def __str__(self) -> str:
        return ", ".join(f"{len(ids)} on {host}" for host, ids in self._all.items())


class Allocator:
    """Allocates devices and a port to every job of a run that is started."""

    def __init__(
        self, launcher: HostLauncher, jobs: Sequence[ProcessGroupJob], environment: Mapping[str, str], directory: Path
    ) -> None:
        """Find the devices of the launcher.

        environment: of this process. directory: for files with the environment of workers on other hosts. Raises
        ConfigError if a job is too large for the devices.
        """
        self._launcher, self._directory = launcher, directory
        largest = max((job.processes for job in jobs), default=1)
        devices = launcher.find_devices(environment, largest)
        cpu_processes = None
        if devices is None:
            # Processes may share CPUs, so that only launch.at_once limits them.
            cpu_processes = largest * min(launcher.launch.at_once, max(1, len(jobs)))
            devices = {LOCAL: tuple(map(str, range(cpu_processes)))}
        self._on_gpus = cpu_processes is None
        self._pool = DevicePool(devices)
        self._ports: set[int] = set()
        self.worker_environment = launcher.worker_environment(environment, cpu_processes)
        """Variables that the workers of every job get."""
        for job in jobs:
            if not self._pool.fits(job.nodes, job.processes):
                raise ConfigError(
                    f"{job.name} needs {job.processes} devices on each of {job.nodes} hosts, and there are "
                    f"{self._pool}; lower launch.processes or launch.resources, or name more hosts"
                )

    def allocate(self, job: ProcessGroupJob) -> Allocation | None:
        """Allocate what a job needs; return None while too few devices are free."""
        devices = self._pool.allocate(job.nodes, job.processes)
        if devices is None:
            return None
        port = self._free_port()
        self._ports.add(port)
        return Allocation(devices, port, self._on_gpus, self._directory / f"{job.name}.env")

    def release(self, allocation: Allocation) -> None:
        """Make the devices and the port of a job that has ended free again."""
        self._pool.release(allocation.devices)
        self._ports.remove(allocation.port)

    def _free_port(self) -> int:
        first = self._launcher.launch.master_port or self._launcher.first_port
        if first is None:
            # Not from the range of outgoing connections, where another process may get it before the workers are up.
            return next(port for port in random.sample(FREE_PORTS, 1000) if port not in self._ports and _is_free(port))
        return next(port for port in range(first, first + len(self._ports) + 1) if port not in self._ports)


def _is_free(port: int) -> bool:
    with socket.socket() as probe, suppress(OSError):
        probe.bind(("", port))
        return True
    return False
