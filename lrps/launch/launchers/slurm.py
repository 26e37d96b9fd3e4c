"""Launcher `slurm`: Slurm allocates the devices, and jobs wait in its queue (lrps.launch.slurm)."""

from __future__ import annotations

import shlex
from pathlib import Path

from lrps.config.launching import SlurmConfig
from lrps.launch.launchers.launcher import Launcher
from lrps.launch.process_group import LaunchCommand, ProcessGroupJob


class SlurmLauncher(Launcher):
    """Slurm. `lrps run` submits a batch job per path; a single step is started and waited for with `srun`."""

    name = "slurm"
    single_host = False

    @property
    def concurrent(self) -> bool:
        """Whether independent process groups may run at the same time: always, the cluster decides."""
        return True

    def step_command(self, job: ProcessGroupJob, script: Path) -> LaunchCommand:
        """Return the command that runs a job as one step of Slurm, in a new allocation or the one around it.

        script: file that all hosts see, for `launch.slurm.setup`, which is not for the eyes of other users.
        """
        slurm = self.launch.slurm
        options = (f"--{name}={value}" for name, value in allocation_options(slurm, job).items() if name != "time")
        work = "\n".join((slurm.setup, shlex.join(("exec", *job.command)), ""))
        return LaunchCommand(
            (
                *("srun", f"--job-name=lrps-{job.name}", f"--nodes={job.nodes}"),
                *(f"--ntasks-per-node={job.processes}", "--wait=60", *options, *slurm.directives),
                *("bash", str(script)),
            ),
            {},
            {script: work},
        )


def allocation_options(slurm: SlurmConfig, job: ProcessGroupJob) -> dict[str, str]:
    """Return the options of sbatch and srun that say what to allocate for a job, without their dashes."""
    options = {
        "partition": job.resources.partition,
        "account": slurm.account,
        "qos": slurm.qos,
        "time": job.resources.time_limit,
        "gres": None if slurm.gres is None else f"{slurm.gres}:{job.processes}",
    }
    return {name: value for name, value in options.items() if value is not None}
