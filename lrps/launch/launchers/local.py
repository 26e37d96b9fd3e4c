"""Launcher `local`: the deepspeed launcher on this machine."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from lrps.base.errors import ConfigError
from lrps.launch.hosts import LOCAL
from lrps.launch.launchers.this_machine import ThisMachineLauncher
from lrps.launch.process_group import Allocation, LaunchCommand, ProcessGroupJob


class LocalLauncher(ThisMachineLauncher):
    """The deepspeed launcher on this machine."""

    name = "local"

    def command(self, job: ProcessGroupJob, allocation: Allocation, environment: Mapping[str, str]) -> LaunchCommand:
        """Return the command of `deepspeed`, which starts a process for each visible GPU, or a number on the CPU.

        Raises ConfigError if GPUs are named by UUID, which deepspeed cannot read.
        """
        devices = allocation.devices[LOCAL]
        if not allocation.on_gpus:
            here = ("--num_gpus", str(len(devices)))
            return LaunchCommand(deepspeed_command(here, allocation.port, job.arguments), environment)
        if not all(device.isdecimal() for device in devices):
            raise ConfigError(
                f"CUDA_VISIBLE_DEVICES names {', '.join(devices)}, and deepspeed takes numbers only; give numbers, or "
                "take launcher torchrun"
            )
        # Not --num_gpus: with it deepspeed takes the first GPUs of the machine, visible or not.
        visible = {"CUDA_VISIBLE_DEVICES": ",".join(devices)}
        return LaunchCommand(deepspeed_command((), allocation.port, job.arguments), {**environment, **visible})


def deepspeed_command(where: Sequence[str], port: int, arguments: Sequence[str]) -> tuple[str, ...]:
    """Return the command of deepspeed's launcher for workers `lrps ARGUMENTS`. where: options that choose devices."""
    program = str(Path(sys.executable).with_name("deepspeed"))
    options = ("-q", *where, "--master_port", str(port), "--no_local_rank")
    return (program, *options, "--module", "lrps.cli", *arguments)
