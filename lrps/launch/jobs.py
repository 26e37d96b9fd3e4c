"""What is missing, as jobs: values that say which paths one process group trains in a row, and what it waits for.

A job knows nothing of launchers: `job.command` is what every worker runs, whoever starts it (lrps.launch.commands for
deepspeed and torchrun, lrps.launch.slurm for srun).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lrps.base.errors import ConfigError
from lrps.config.launching import LaunchConfig, Resources
from lrps.launch.hosts import read_hostfile
from lrps.paths.graph import Fork, TrainingPath
from lrps.plan.plan import Plan
from lrps.plan.status import PathStatus, plan_status


@dataclass(frozen=True)
class ProcessGroupJob:
    """One process group: its paths, the verb of lrps that its workers run, and what it needs."""

    paths: tuple[str, ...]
    """Parents before children."""
    arguments: tuple[str, ...]
    """Of `lrps`: `train CONFIG --set ... PATH...`."""
    resources: Resources
    """With `nodes` and `processes` filled in."""
    needs: tuple[Fork, ...] = ()
    """States of other jobs' paths that its own start from; it may start once all of them are pinned."""
    after: tuple[str, ...] = ()
    """Names of the jobs that make those states."""

    @property
    def name(self) -> str:
        """No two jobs of a run have the same."""
        return self.paths[0]

    @property
    def command(self) -> tuple[str, ...]:
        """What every worker runs."""
        return (sys.executable, "-m", "lrps.cli", *self.arguments)

    @property
    def nodes(self) -> int:
        return self.resources.nodes or 1

    @property
    def processes(self) -> int:
        """On each node."""
        return self.resources.processes or 1


def unfinished_paths(plan: Plan, paradigms: Sequence[str] = ()) -> tuple[PathStatus, ...]:
    """The paths that are not complete, of all paradigms or of the named ones, parents before children."""
    wanted = {p.name for paradigm in plan.graph.paradigms if paradigm.name in paradigms for p in paradigm.paths}
    return tuple(
        status
        for status in plan_status(plan)
        if status.state != "complete" and (not paradigms or status.path.name in wanted)
    )


def plan_jobs(
    plan: Plan, names: Sequence[str], config_file: Path, overrides: Sequence[str]
) -> tuple[ProcessGroupJob, ...]:
    """Cut the unfinished paths `names` (parents before children) into process groups, parents before children.

    Raises ConfigError if a hostfile is missing, or if the batch does not divide over its hosts.
    """
    launch = plan.config.launch
    hosts = len(read_hostfile(launch.hostfile)) if launch.launcher == "deepspeed" and launch.hostfile else 1
    settings = [part for text in overrides for part in ("--set", text)]
    jobs: list[ProcessGroupJob] = []
    for resources, paths in _grouped(launch, [plan.graph.by_name[name] for name in names], hosts):
        own = tuple(path.name for path in paths)
        needs = _needs(paths, {name for job in jobs for name in job.paths})
        after = tuple(job.name for job in jobs if any(fork.path in job.paths for fork in needs))
        jobs.append(ProcessGroupJob(own, ("train", str(config_file), *settings, *own), resources, needs, after))
        _check_batch(plan, jobs[-1])
    return tuple(jobs)


def _grouped(
    launch: LaunchConfig, paths: Sequence[TrainingPath], hosts: int
) -> list[tuple[Resources, list[TrainingPath]]]:
    """Neighbours with the same resources, as many in a row as launch.paths_per_job says."""
    side_by_side = launch.at_once > 1 or launch.launcher == "slurm"
    size = launch.paths_per_job or (1 if side_by_side else len(paths))
    groups: list[tuple[Resources, list[TrainingPath]]] = []
    for path in paths:
        resources = launch.resources_of(path.kind, hosts)
        if not groups or groups[-1][0] != resources or len(groups[-1][1]) == size:
            groups.append((resources, []))
        groups[-1][1].append(path)
    return groups


def _needs(paths: Sequence[TrainingPath], made_before: set[str]) -> tuple[Fork, ...]:
    """The states that the paths start from and earlier jobs make. What no job makes is there already."""
    forks = (path.parent for path in paths if path.parent is not None)
    return tuple(dict.fromkeys(fork for fork in forks if fork.path in made_before))


def _check_batch(plan: Plan, job: ProcessGroupJob) -> None:
    if fault := plan.config.batch_fault(job.nodes * job.processes):
        raise ConfigError(f"{job.name}, {job.nodes} nodes of {job.processes} processes: {fault}")
