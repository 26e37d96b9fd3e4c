"""Start of the ranks of `lrps doctor --nodes` with the launcher of the config, and the wait for their result.

The run directory is left as it was.
"""

from __future__ import annotations

import os
import shlex
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from lrps.base.errors import ConfigError, StoppedError
from lrps.doctor.finding import Finding
from lrps.doctor.nodes import AREA, NodesReport, nodes_report
from lrps.doctor.worker import EXCHANGE_DIRECTORY, RESULT, read_result
from lrps.launch.allocation import Allocator
from lrps.launch.launchers.launcher import HostLauncher
from lrps.launch.launchers.registry import launcher_of
from lrps.launch.launchers.slurm import SlurmLauncher
from lrps.launch.process_group import GROUP, LaunchCommand, ProcessGroupJob
from lrps.launch.slurm.concealed import concealed
from lrps.launch.supervise import Supervisor
from lrps.plan.plan import Plan

JOB_NAME = "doctor"
VERB = "doctor-worker"
START_SECONDS = 300.0
"""Time limit from the start of the launcher to the result; with Slurm, waiting in the queue counts as well."""
GRACE_SECONDS = 10.0
_LOG_LINES = 20


def call_roll(plan: Plan, config_file: Path, overrides: Sequence[str], seconds: float = START_SECONDS) -> NodesReport:
    """Start the ranks of the plan's largest process group, wait for them, and return what they found.

    Raises ConfigError if the launcher cannot start them, StoppedError if a signal ends it.
    """
    launcher = launcher_of(plan.config.launch)
    job = largest_job(plan, launcher, config_file, overrides)
    with exchange_directory(plan.config.run_dir) as directory:
        command = _command(launcher, job, directory)
        log = directory / "log"
        code = _run(command, log, seconds)
        if (directory / RESULT).exists():
            ranks, all_reduce = read_result((directory / RESULT).read_text())
            return nodes_report(ranks, all_reduce, job.world_size)
        output = log.read_text(errors="replace").splitlines()[-_LOG_LINES:] if log.exists() else []
    how = f"did not answer within {seconds:g} s" if code is None else f"ended with code {code} and no result"
    what = "\n      | ".join((f"the ranks {how}: {concealed(shlex.join(command.command))}", *output))
    fix = (
        "try one host first; several need ssh without a password, one network, and the same paths and environment. "
        "NCCL_DEBUG=INFO prints more"
    )
    return NodesReport((Finding(AREA, "ranks", "fail", what, fix),))


def largest_job(
    plan: Plan, launcher: HostLauncher | SlurmLauncher, config_file: Path, overrides: Sequence[str]
) -> ProcessGroupJob:
    """Return the job of a worker that has the resources of the plan's largest process group."""
    arguments = (VERB, str(config_file), *(part for text in overrides for part in ("--set", text)))
    kinds = dict.fromkeys(path.kind for path in plan.graph.paths)
    jobs = (ProcessGroupJob((JOB_NAME,), arguments, launcher.resources_of(kind)) for kind in kinds)
    return max(jobs, key=lambda job: job.world_size)


@contextmanager
def exchange_directory(run_dir: Path) -> Iterator[Path]:
    """Create the directory in which ranks and doctor exchange files; remove it and all that was created for it."""
    created = [folder for folder in (run_dir, *run_dir.parents) if not folder.exists()]
    directory = run_dir / EXCHANGE_DIRECTORY
    run_dir.mkdir(parents=True, exist_ok=True)
    try:
        try:
            directory.mkdir()
        except FileExistsError:
            raise ConfigError(
                f"{directory}: another `lrps doctor --nodes` is running, or was killed; if it was killed, remove the "
                "directory"
            ) from None
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)
    finally:
        for folder in created:
            with suppress(OSError):  # It is not empty if another process has written to it.
                folder.rmdir()


def _command(launcher: HostLauncher | SlurmLauncher, job: ProcessGroupJob, directory: Path) -> LaunchCommand:
    if isinstance(launcher, SlurmLauncher):
        return launcher.step_command(job, directory.absolute() / "step.sh")
    allocator = Allocator(launcher, [job], os.environ, directory)
    allocation = allocator.allocate(job)
    assert allocation is not None, "the allocator has checked that the job fits"
    return launcher.command(job, allocation, {**allocator.worker_environment, GROUP: uuid4().hex})


def _run(command: LaunchCommand, log: Path, seconds: float) -> int | None:
    """Return the exit code of a command; None if it was ended because it took too long.

    Raises StoppedError if a signal came.
    """
    with Supervisor(GRACE_SECONDS) as supervisor:
        supervisor.start(JOB_NAME, command, output=log)
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            for group_exit in supervisor.poll():
                if supervisor.stop_requested:
                    raise StoppedError("stopped; the run directory is as it was")
                return group_exit.code
    return None
