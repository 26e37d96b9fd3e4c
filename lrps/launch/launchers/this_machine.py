"""The devices and the environment of this machine, as its launchers share them."""

from __future__ import annotations

import os
from collections.abc import Mapping

from lrps.launch.hosts import LOCAL, Devices, devices_here
from lrps.launch.launchers.launcher import HostLauncher
from lrps.launch.process_group import THREADS


class ThisMachineLauncher(HostLauncher):
    """Base class of the launchers that start all processes on this machine."""

    single_host = True
    first_port = None

    def find_devices(self, environment: Mapping[str, str], processes: int) -> Devices | None:
        """Return the visible GPUs of this machine."""
        devices = devices_here(environment, processes)
        return None if devices is None else {LOCAL: devices}

    def worker_environment(self, environment: Mapping[str, str], cpu_processes: int | None) -> dict[str, str]:
        """Return the variables that divide the cores among processes on the CPU; workers inherit everything else."""
        added = {"TOKENIZERS_PARALLELISM": "false"}
        if cpu_processes is not None:
            threads = max(1, (os.cpu_count() or 1) // cpu_processes)
            shared = {"DS_ACCELERATOR": "cpu", THREADS: str(threads)}
            added |= {name: value for name, value in shared.items() if name not in environment}
        if self.launch.threads is not None:
            added[THREADS] = str(self.launch.threads)
        return added
