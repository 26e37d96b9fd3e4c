"""The command of torchrun."""

from __future__ import annotations

import sys

from lrps.config.launching import LaunchConfig, Resources
from lrps.launch.launchers.torchrun import TorchrunLauncher
from lrps.launch.process_group import Allocation, ProcessGroupJob

ARGUMENTS = ("train", "c.yaml", "--set", "seed=3", "main")
JOB = ProcessGroupJob(("main",), ARGUMENTS, Resources(nodes=1, processes=2))
TAIL = "--nproc_per_node 2 -m lrps.cli train c.yaml --set seed=3 main"
ON_GPUS = Allocation({"localhost": ("GPU-1", "GPU-2")}, 4321)
ON_CPU = Allocation({"localhost": ("0", "1")}, 4321, on_gpus=False)


def test_torchrun_takes_a_free_port_or_the_configured_one() -> None:
    torchrun = f"CUDA_VISIBLE_DEVICES=GPU-1,GPU-2 {sys.executable} -m torch.distributed.run"
    free, given = TorchrunLauncher(LaunchConfig()), TorchrunLauncher(LaunchConfig(master_port=4321))
    assert free.command(JOB, ON_GPUS, {}).as_shell_script() == f"{torchrun} --standalone --nnodes 1 {TAIL}"
    address = "--nnodes 1 --node_rank 0 --master_addr 127.0.0.1 --master_port 4321"
    assert given.command(JOB, ON_GPUS, {}).as_shell_script() == f"{torchrun} {address} {TAIL}"
    assert "CUDA_VISIBLE_DEVICES" not in free.command(JOB, ON_CPU, {}).environment


def test_torchrun_itself_reads_the_options() -> None:
    """Its parser accepts abbreviations, so that an option of the worker could be taken for one of its own."""
    from torch.distributed.run import get_args_parser

    command = TorchrunLauncher(LaunchConfig()).command(JOB, ON_CPU, {}).command
    read = get_args_parser().parse_args(command[3:])
    assert (read.nproc_per_node, read.standalone, read.module) == ("2", True, True)
    assert (read.training_script, *read.training_script_args) == ("lrps.cli", *ARGUMENTS)
