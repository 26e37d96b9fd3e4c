"""What the jobs of a run share: devices of this machine or of hosts, ports, and the environment of workers."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from lrps.base.errors import ConfigError
from lrps.launch.commands import Allocation
from lrps.launch.hosts import LOCAL, Devices, devices_here, read_hostfile
from lrps.launch.jobs import ProcessGroupJob
from lrps.plan.plan import Plan

PORT_OF_HOSTS = 29500
PORTS_HERE = range(10_000, 30_000)
"""For groups of this machine: below those that systems hand out to outgoing connections."""
_FOR_OTHER_HOSTS = ("DS_ACCELERATOR", "OMP_NUM_THREADS")
"""What the user may have set here and workers on other hosts would not see: deepspeed hands on its own choice."""


class DevicePool:
    """Devices of hosts, taken and given back."""

    def __init__(self, devices: Devices) -> None:
        self._all = dict(devices)
        self._free = {host: list(ids) for host, ids in devices.items()}

    def has_room(self, nodes: int, processes: int) -> bool:
        """True if a group of that size fits once nobody else holds anything."""
        return sum(len(ids) >= processes for ids in self._all.values()) >= nodes

    def take(self, nodes: int, processes: int) -> Devices | None:
        """`processes` devices on each of `nodes` hosts; None while too few are free."""
        hosts = [host for host, ids in self._free.items() if len(ids) >= processes][:nodes]
        if len(hosts) < nodes:
            return None
        taken = {host: tuple(self._free[host][:processes]) for host in hosts}
        for host in hosts:
            del self._free[host][:processes]
        return taken

    def give_back(self, devices: Devices) -> None:
        for host, ids in devices.items():
            held = {*self._free[host], *ids}
            self._free[host] = [each for each in self._all[host] if each in held]

    def __str__(self) -> str:
        return ", ".join(f"{len(ids)} on {host}" for host, ids in self._all.items())


class Allocator:
    """Gives every job at work a place of its own."""

    def __init__(self, plan: Plan, jobs: Sequence[ProcessGroupJob], environment: Mapping[str, str]) -> None:
        """Raises ConfigError if a job is too big for what there is. environment: of this process."""
        self._launch, self._files, self._outside = plan.config.launch, plan.layout.launch, environment
        self._largest = max((job.processes for job in jobs), default=1)
        # Processes on the CPU share it: only launch.at_once limits them.
        self._most = self._largest * min(self._launch.at_once, max(1, len(jobs)))
        self._on_gpus = True
        self._pool = DevicePool(self._devices())
        self._ports: set[int] = set()
        for job in jobs:
            if not self._pool.has_room(job.nodes, job.processes):
                raise ConfigError(
                    f"{job.name} needs {job.processes} devices on each of {job.nodes} hosts, and there are "
                    f"{self._pool}; lower launch.processes or launch.resources, or name more hosts"
                )

    def _devices(self) -> Devices:
        if self._launch.launcher == "deepspeed" and self._launch.hostfile is not None:
            slots = read_hostfile(self._launch.hostfile)
            return {host: tuple(map(str, range(count))) for host, count in slots.items()}
        found = devices_here(self._outside, self._largest)
        self._on_gpus = found is not None
        return {LOCAL: tuple(map(str, range(self._most))) if found is None else found}

    def take(self, job: ProcessGroupJob) -> Allocation | None:
        """A place for a job; None while there is none."""
        devices = self._pool.take(job.nodes, job.processes)
        if devices is None:
            return None
        port = self._port()
        self._ports.add(port)
        return Allocation(devices, port, self._on_gpus, self._files / f"{job.name}.env")

    def give_back(self, place: Allocation) -> None:
        self._pool.give_back(place.devices)
        self._ports.remove(place.port)

    def _port(self) -> int:
        first = self._launch.master_port or (PORT_OF_HOSTS if self._launch.launcher == "deepspeed" else None)
        if first is None:
            # Not one of those that the system hands out: until the processes are up, it may go to somebody else.
            return next(port for port in random.sample(PORTS_HERE, 1000) if port not in self._ports and _is_free(port))
        return next(port for port in range(first, first + len(self._ports) + 1) if port not in self._ports)

    def environment(self) -> dict[str, str]:
        """What is added to that of all workers."""
        added = {"TOKENIZERS_PARALLELISM": "false"}
        if self._launch.launcher == "deepspeed":
            passed = {name: self._outside[name] for name in _FOR_OTHER_HOSTS if name in self._outside}
            return {**added, **passed, **_deepspeed_environment(self._outside)}
        if not self._on_gpus:
            threads = max(1, (os.cpu_count() or 1) // self._most)
            shared = {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": str(threads)}
            added |= {name: value for name, value in shared.items() if name not in self._outside}
        return added


def _is_free(port: int) -> bool:
    with socket.socket() as probe, suppress(OSError):
        probe.bind(("", port))
        return True
    return False


def _deepspeed_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What the user has written down for all hosts, where deepspeed looks for it: ours takes that file's place."""
    name = environment.get("DS_ENV_FILE", ".deepspeed_env")
    found: dict[str, str] = {}
    for folder in (Path.home(), Path()):
        if (folder / name).is_file():
            lines = (line.partition("=") for line in (folder / name).read_text(encoding="utf-8").splitlines())
            found |= {key.strip(): value.strip() for key, equals, value in lines if equals}
    return found
