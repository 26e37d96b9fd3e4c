"""The command of deepspeed's launcher on this machine."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lrps.base.errors import ConfigError
from lrps.config.launching import LaunchConfig, Resources
from lrps.launch.launchers.local import LocalLauncher
from lrps.launch.process_group import Allocation, ProcessGroupJob

JOB = ProcessGroupJob(("main",), ("train", "c.yaml", "--set", "seed=3", "main"), Resources(nodes=1, processes=2))
TAIL = "--no_local_rank --module lrps.cli train c.yaml --set seed=3 main"
DEEPSPEED = str(Path(sys.executable).with_name("deepspeed"))
LAUNCHER = LocalLauncher(LaunchConfig())


def test_on_the_cpu_deepspeed_gets_the_number_of_processes() -> None:
    allocation = Allocation({"localhost": ("0", "1")}, 4321, on_gpus=False)
    found = LAUNCHER.command(JOB, allocation, {"OMP_NUM_THREADS": "1"})
    assert found.as_shell_script() == f"OMP_NUM_THREADS=1 {DEEPSPEED} -q --num_gpus 2 --master_port 4321 {TAIL}"
    assert (found.files, found.signal_command("TERM")) == ({}, None)


def test_on_gpus_deepspeed_sees_only_the_allocated_ones() -> None:
    found = LAUNCHER.command(JOB, Allocation({"localhost": ("2", "5")}, 4321), {})
    assert found.as_shell_script() == f"CUDA_VISIBLE_DEVICES=2,5 {DEEPSPEED} -q --master_port 4321 {TAIL}"


def test_gpus_named_by_uuid_are_refused() -> None:
    with pytest.raises(ConfigError, match="names GPU-1, GPU-2, and deepspeed takes numbers only"):
        LAUNCHER.command(JOB, Allocation({"localhost": ("GPU-1", "GPU-2")}, 4321), {})
