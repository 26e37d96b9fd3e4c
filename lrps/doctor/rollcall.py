"""`lrps doctor --nodes`: starts a rank wherever the launcher of the config would train, and waits for what they find.

The run directory is left as it was.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from lrps.base.errors import ConfigError, StoppedError
from lrps.config.launching import LaunchConfig, Resources
from lrps.doctor.finding import Finding
from lrps.doctor.nodes import AREA, Nodes, nodes_findings
from lrps.doctor.worker import MEETING, RESULT, read_result
from lrps.launch.allocation import Allocator
from lrps.launch.commands import Start, start
from lrps.launch.hosts import read_hostfile
from lrps.launch.jobs import ProcessGroupJob
from lrps.launch.supervise import GROUP, Supervisor
from lrps.plan.plan import Plan

VERB = "doctor-worker"
START_SECONDS = 300.0
"""From the start of the launcher to the result; then everything is ended. With Slurm the queue takes its own time."""
GRACE_SECONDS = 10.0
_TOLD_LINES = 20


def call_roll(plan: Plan, config_file: Path, overrides: Sequence[str], seconds: float = START_SECONDS) -> Nodes:
    """Start the ranks of the plan's largest process group, wait for them, judge.

    Raises ConfigError where nothing can be started, StoppedError if a signal ends it.
    """
    job = largest_job(plan, config_file, overrides)
    with meeting_place(plan.config.run_dir) as meeting:
        log = meeting / "log"
        starting = _starting(plan, job, meeting)
        code = _run(starting, log, seconds)
        if (meeting / RESULT).exists():
            ranks, exchange = read_result((meeting / RESULT).read_text())
            return nodes_findings(ranks, exchange, job.nodes * job.processes)
        told = log.read_text(errors="replace").splitlines()[-_TOLD_LINES:] if log.exists() else []
    how = f"did not answer within {seconds:g} s" if code is None else f"ended with code {code} and no result"
    what = "\n      | ".join((f"the ranks {how}: {shlex.join(starting.command)}", *told))
    way_out = (
        "try one host first; several need ssh without a password, one network, and the same paths and environment. "
        "NCCL_DEBUG=INFO tells more"
    )
    return Nodes((Finding(AREA, "ranks", "fail", what, way_out),))


def largest_job(plan: Plan, config_file: Path, overrides: Sequence[str]) -> ProcessGroupJob:
    """The worker's job on as many nodes and processes as the largest process group of the plan gets."""
    launch = plan.config.launch
    hosts = len(read_hostfile(launch.hostfile)) if launch.launcher == "deepspeed" and launch.hostfile else 1
    kinds = dict.fromkeys(path.kind for path in plan.graph.paths)
    resources = max((launch.resources_of(kind, hosts) for kind in kinds), key=_ranks)
    settings = [part for text in overrides for part in ("--set", text)]
    return ProcessGroupJob((AREA,), (VERB, str(config_file), *settings), resources)


def _ranks(resources: Resources) -> int:
    return (resources.nodes or 1) * (resources.processes or 1)


@contextmanager
def meeting_place(run_dir: Path) -> Iterator[Path]:
    """A directory in the run directory where ranks and doctor meet; afterwards all that was made for it is gone."""
    made = [place for place in (run_dir, *run_dir.parents) if not place.exists()]
    meeting = run_dir / MEETING
    run_dir.mkdir(parents=True, exist_ok=True)
    try:
        try:
            meeting.mkdir()
        except FileExistsError:
            raise ConfigError(
                f"{meeting}: another `lrps doctor --nodes` is at work, or was killed; in that case remove the directory"
            ) from None
        try:
            yield meeting
        finally:
            shutil.rmtree(meeting, ignore_errors=True)
    finally:
        for place in made:
            with suppress(OSError):  # somebody else has put something there meanwhile
                place.rmdir()


def _starting(plan: Plan, job: ProcessGroupJob, meeting: Path) -> Start:
    launch = plan.config.launch
    if launch.launcher == "slurm":
        return Start(srun(job, launch), {})
    room = Allocator(plan, [job], os.environ)
    place = room.take(job)
    assert place is not None, "the room has checked that the job fits"
    place = replace(place, environment_file=meeting / "environment")
    return start(job, launch, place, {**room.environment(), GROUP: uuid4().hex})


def srun(job: ProcessGroupJob, launch: LaunchConfig) -> tuple[str, ...]:
    """The ranks as one step of Slurm, in an allocation that it waits for or in the one around it."""
    slurm, resources = launch.slurm, job.resources
    options = {
        "partition": resources.partition,
        "account": slurm.account,
        "qos": slurm.qos,
        "gres": None if slurm.gres is None else f"{slurm.gres}:{job.processes}",
    }
    settings = (
        *("--job-name=lrps-doctor", f"--nodes={job.nodes}", f"--ntasks-per-node={job.processes}", "--wait=60"),
        *(f"--{name}={value}" for name, value in options.items() if value is not None),
        *slurm.directives,
    )
    work = "\n".join((slurm.setup, shlex.join(("exec", sys.executable, "-m", "lrps.cli", *job.arguments))))
    return ("srun", *settings, "bash", "-c", work)


def _run(starting: Start, log: Path, seconds: float) -> int | None:
    """The exit code; None if they had to be ended because it took too long. StoppedError if a signal came."""
    for file, text in starting.files.items():
        file.write_text(text)
    with Supervisor(GRACE_SECONDS) as supervisor:
        supervisor.start(
            AREA,
            starting.command,
            {**os.environ, **starting.environment},
            output=log,
            signal_command=starting.signalling if starting.signal_command else None,
        )
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            for _, code, _asked in supervisor.ended():
                if supervisor.asked_to_stop:
                    raise StoppedError("stopped; the run directory is as it was")
                return code
    return None
