"""Walks the graph: starts the training processes for what is missing, watches them, and says how it ended.

A job is one process group that trains some paths in a row. It has succeeded when the launcher returns 0 AND the run
directory shows every one of its paths complete: a killed launcher can return 0.
"""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath

from lrps.config.models import Launch
from lrps.errors import INTERRUPTED, USER_MISTAKE, DataError, LrpsError, StoppedError, TrainingError
from lrps.plan import Plan, shards_command
from lrps.status import PathStatus, path_status, plan_status, saved_step
from lrps.supervise import supervise
from lrps.train.origin import fork


@dataclass(frozen=True)
class Job:
    """One process group: its paths and the exact command that starts it."""

    paths: tuple[str, ...]
    command: tuple[str, ...]

    def __str__(self) -> str:
        return shlex.join(self.command)


def unfinished(plan: Plan, paradigms: Sequence[str] = ()) -> tuple[PathStatus, ...]:
    """The paths that are not complete, of all paradigms or of the named ones, parents before children."""
    wanted = {p.name for paradigm in plan.graph.paradigms if paradigm.name in paradigms for p in paradigm.paths}
    return tuple(
        status
        for status in plan_status(plan)
        if status.state != "complete" and (not paradigms or status.path.name in wanted)
    )


def plan_jobs(
    plan: Plan, names: Sequence[str], config_file: FilePath, overrides: Sequence[str], verb: str = "train"
) -> tuple[Job, ...]:
    """Cut the paths into process groups as launch.paths_per_job says."""
    launch = plan.config.launch
    size = launch.paths_per_job or max(1, len(names))
    groups = [tuple(names[i : i + size]) for i in range(0, len(names), size)]
    return tuple(Job(group, _command(launch, verb, config_file, overrides, group)) for group in groups)


def _command(
    launch: Launch, verb: str, config_file: FilePath, overrides: Sequence[str], paths: Sequence[str]
) -> tuple[str, ...]:
    deepspeed = FilePath(sys.executable).with_name("deepspeed")
    where = ["--num_gpus", str(launch.processes)]
    port = launch.master_port or (29500 if launch.launcher == "deepspeed" else _free_port())
    if launch.launcher == "deepspeed":
        where = ["--hostfile", str(launch.hostfile), *where]
    settings = [part for text in overrides for part in ("--set", text)]
    return (
        *(str(deepspeed), "-q", *where, "--master_port", str(port), "--no_local_rank"),
        *("--module", "lrps.cli", verb, str(config_file), *settings, *paths),
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def check_data(plan: Plan) -> None:
    """Raises DataError if something that the plan reads has no shards: nothing is started that must fail."""
    read = {source for path in plan.graph.paths for source in path.sources}
    missing = [each for each in plan.config.data.sources if each.name in read - plan.manifests.keys()]
    if missing:
        names = ", ".join(version.name for version in missing)
        commands = " and ".join(dict.fromkeys(f"`{shards_command(version)}`" for version in missing))
        raise DataError(f"no shards in {plan.config.data.root} for version {names}; run {commands} first")


def check_forks(plan: Plan, statuses: Sequence[PathStatus]) -> None:
    """Raises LineageError if a path that is to begin forks where its parent has passed without a branch point."""
    for status in statuses:
        parent = status.path.parent
        if parent is None or status.totals.attempts:
            continue
        saved = saved_step(plan, plan.graph.by_name[parent.path])
        if saved is not None and saved >= parent.step:
            fork(status.path, plan.layout)


def run_jobs(plan: Plan, jobs: Sequence[Job]) -> None:
    """Run the jobs one after the other.

    Raises StoppedError when it was asked to stop and saved, TrainingError when a job ended without its paths
    complete, LrpsError (the user's mistake) when the workers refused what they were given.
    """
    for job in jobs:
        code, interrupted = supervise(job.command, _environment(job), plan.config.launch.grace_seconds)
        states = {name: path_status(plan, plan.graph.by_name[name]).state for name in job.paths}
        open_paths = [name for name, state in states.items() if state != "complete"]
        if not open_paths:
            continue
        if interrupted or code == INTERRUPTED:
            raise StoppedError(f"stopped; {', '.join(open_paths)} not complete. The same command goes on from there")
        message = (
            f"the training processes ended with code {code} before {', '.join(open_paths)} was complete; "
            "the reason stands above. Mend it, and the same command goes on from the last checkpoint"
        )
        raise LrpsError(message) if code == USER_MISTAKE else TrainingError(message)


def _environment(job: Job) -> dict[str, str]:
    environment = {**os.environ, "LRPS_LAUNCHED_AT": str(time.time()), "TOKENIZERS_PARALLELISM": "false"}
    if not (shutil.which("nvidia-smi") or shutil.which("rocm-smi")):
        environment.setdefault("DS_ACCELERATOR", "cpu")
        processes = int(job.command[job.command.index("--num_gpus") + 1])
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    return environment
