"""The command of a single step of Slurm."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from lrps.config.launching import LaunchConfig
from lrps.launch.launchers.slurm import SlurmLauncher
from lrps.launch.process_group import ProcessGroupJob


def test_a_step_gets_the_resources_of_its_job() -> None:
    slurm: dict[str, Any] = {"partition": "gpus", "account": "us", "setup": "module load cuda", "gres": "gpu:h100"}
    slurm |= {"directives": ("--exclusive",), "time_limit": "12:00:00"}
    launch = LaunchConfig.model_validate({"launcher": "slurm", "processes": 2, "slurm": slurm})
    launcher = SlurmLauncher(launch)
    job = ProcessGroupJob(("doctor",), ("doctor-worker", "c.yaml"), launcher.resources_of("main"))
    command = launcher.step_command(job, Path("/run/.doctor/step.sh"))
    assert command.command == (
        *("srun", "--job-name=lrps-doctor", "--nodes=1", "--ntasks-per-node=2", "--wait=60"),
        *("--partition=gpus", "--account=us", "--gres=gpu:h100:2", "--exclusive"),
        *("bash", "/run/.doctor/step.sh"),
    )
    # Command lines can be read by every user, files of commands by their owner.
    assert command.files == {
        Path("/run/.doctor/step.sh"): f"module load cuda\nexec {sys.executable} -m lrps.cli doctor-worker c.yaml\n"
    }
