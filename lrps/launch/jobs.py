"""Division of the unfinished paths of a plan into process-group jobs: the paths of each, and what it waits for.

Jobs do not depend on the launcher's command: every worker runs `job.command`, whoever starts it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lrps.base.errors import ConfigError
from lrps.config.launching import Resources
from lrps.launch.launchers.launcher import Launcher
from lrps.launch.launchers.registry import launcher_of
from lrps.launch.process_group import ProcessGroupJob
from lrps.paths.graph import Fork, TrainingPath
from lrps.plan.plan import Plan
from lrps.plan.status import PathStatus, plan_status


def unfinished_paths(plan: Plan, paradigms: Sequence[str] = (), versions: Sequence[str] = ()) -> tuple[PathStatus, ...]:
    """Return the paths that are not complete, parents before children.

    paradigms: names; by default all of them. versions: names of those whose releases are wanted, with all ancestors of
    their paths; by default every path, probes included.
    """
    unfinished = tuple(status for status in plan_status(plan) if status.state != "complete")
    if not paradigms and not versions:
        return unfinished
    graph = plan.graph
    chosen = [each for each in graph.paradigms if not paradigms or each.name in paradigms]
    if versions:
        released = [each.path for paradigm in chosen for each in paradigm.releases if each.version in versions]
        paths = graph.with_ancestors(graph.by_name[name] for name in released)
    else:
        paths = tuple(path for paradigm in chosen for path in paradigm.paths)
    wanted = {path.name for path in paths}
    return tuple(status for status in unfinished if status.path.name in wanted)


def plan_jobs(
    plan: Plan, names: Sequence[str], config_file: Path, overrides: Sequence[str], profile: int | None = None
) -> tuple[ProcessGroupJob, ...]:
    """Cut the unfinished paths `names` (parents before children) into jobs, parents before children.

    Where several run at a time, the one that leads to the most steps comes first, so that all end early.

    profile: number of steps of which the first job writes a trace.
    Raises ConfigError if a hostfile is missing, or if the batch does not divide over the processes of a job.
    """
    launcher = launcher_of(plan.config.launch)
    settings = [part for text in overrides for part in ("--set", text)]
    jobs: list[ProcessGroupJob] = []
    for resources, paths in _grouped(launcher, [plan.graph.by_name[name] for name in names]):
        own = tuple(path.name for path in paths)
        needs = _needs(paths, {name for job in jobs for name in job.paths})
        after = tuple(job.name for job in jobs if any(fork.path in job.paths for fork in needs))
        traced = ("--profile", str(profile)) if profile is not None and not jobs else ()
        job = ProcessGroupJob(own, ("train", str(config_file), *traced, *settings, *own), resources, needs, after)
        if fault := plan.config.batch_fault(job.world_size):
            raise ConfigError(f"{job.name}, {job.nodes} nodes of {job.processes} processes: {fault}")
        jobs.append(job)
    return _longest_first(jobs, plan) if plan.config.launch.at_once > 1 else tuple(jobs)


def _longest_first(jobs: Sequence[ProcessGroupJob], plan: Plan) -> tuple[ProcessGroupJob, ...]:
    """Return jobs by the steps of each and of the longest chain of jobs that wait for it; parents stay first."""
    steps: dict[str, int] = {}
    for job in reversed(jobs):  # Children before parents.
        waiting = max((steps[child.name] for child in jobs if job.name in child.after), default=0)
        steps[job.name] = waiting + sum(plan.graph.by_name[name].steps for name in job.paths)
    return tuple(sorted(jobs, key=lambda job: -steps[job.name]))


def _grouped(launcher: Launcher, paths: Sequence[TrainingPath]) -> list[tuple[Resources, list[TrainingPath]]]:
    """Return groups of neighbouring paths with equal resources, each of at most launch.paths_per_job paths."""
    size = launcher.launch.paths_per_job or (1 if launcher.concurrent else len(paths))
    groups: list[tuple[Resources, list[TrainingPath]]] = []
    for path in paths:
        resources = launcher.resources_of(path.kind)
        if not groups or groups[-1][0] != resources or len(groups[-1][1]) == size:
            groups.append((resources, []))
        groups[-1][1].append(path)
    return groups


def _needs(paths: Sequence[TrainingPath], made_before: set[str]) -> tuple[Fork, ...]:
    """Return the branch points that the paths start from and earlier jobs save; all others are saved already."""
    forks = (path.parent for path in paths if path.parent is not None)
    return tuple(dict.fromkeys(fork for fork in forks if fork.path in made_before))
