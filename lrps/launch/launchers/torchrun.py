"""Launcher `torchrun`: torch's launcher on this machine."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from lrps.launch.hosts import LOCAL
from lrps.launch.launchers.this_machine import ThisMachineLauncher
from lrps.launch.process_group import Allocation, LaunchCommand, ProcessGroupJob


class TorchrunLauncher(ThisMachineLauncher):
    """torchrun on this machine."""

    name = "torchrun"

    def command(self, job: ProcessGroupJob, allocation: Allocation, environment: Mapping[str, str]) -> LaunchCommand:
        """Return the command of torchrun, at a free port of its own choice unless `launch.master_port` is set."""
        devices = allocation.devices[LOCAL]
        visible = {"CUDA_VISIBLE_DEVICES": ",".join(devices)} if allocation.on_gpus else {}
        address = (
            "--nnodes",
            "1",
            "--node_rank",
            "0",
            "--master_addr",
            "127.0.0.1",
            "--master_port",
            str(allocation.port),
        )
        rendezvous = ("--standalone", "--nnodes", "1") if self.launch.master_port is None else address
        torchrun = (sys.executable, "-m", "torch.distributed.run", *rendezvous, "--nproc_per_node", str(len(devices)))
        return LaunchCommand((*torchrun, "-m", "lrps.cli", *job.arguments), {**environment, **visible})
