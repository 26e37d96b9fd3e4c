"""How unfinished paths become jobs, and what each job waits for."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.base.errors import ConfigError
from lrps.config.models import Config
from lrps.launch.jobs import plan_jobs, unfinished_paths
from lrps.launch.process_group import ProcessGroupJob
from lrps.paths.graph import Fork
from lrps.plan.plan import Plan, make_plan
from support.values import config_values

MakeConfig = Callable[..., Config]
FILE = Path("c.yaml")


def jobs_of(plan: Plan, *names: str) -> tuple[ProcessGroupJob, ...]:
    return plan_jobs(plan, names or list(plan.graph.by_name), FILE, [])


def test_everything_is_unfinished_at_first(make_config: MakeConfig, tmp_path: Path) -> None:
    plan = make_plan(make_config(runs=str(tmp_path)))
    assert [status.path.name for status in unfinished_paths(plan)] == list(plan.graph.by_name)
    only = [status.path.name for status in unfinished_paths(plan, ["cpt"])]
    assert only == ["ptfs-v1", "cpt-v2", "cpt-v3", "cpt-v4"], "shared paths belong to both"


def test_a_version_is_its_releases_and_their_ancestors(make_config: MakeConfig, tmp_path: Path) -> None:
    plan = make_plan(make_config(runs=str(tmp_path)))
    wanted = [status.path.name for status in unfinished_paths(plan, versions=["v2"])]
    assert wanted == ["main", "branch-v2", "ptfs-v1", "ptfs-v2", "cpt-v2"]
    assert [status.path.name for status in unfinished_paths(plan, ["cpt"], ["v3"])] == ["ptfs-v1", "cpt-v2", "cpt-v3"]


def test_a_job_is_what_every_worker_runs(make_config: MakeConfig) -> None:
    (job,) = plan_jobs(make_plan(make_config()), ["main", "branch-v1"], FILE, ["seed=3"])
    assert job.command == (sys.executable, "-m", "lrps.cli", "train", "c.yaml", "--set", "seed=3", "main", "branch-v1")
    assert (job.name, job.nodes, job.processes, job.needs, job.after) == ("main", 1, 1, (), ())


def test_the_first_job_is_profiled(make_config: MakeConfig) -> None:
    plan = make_plan(make_config(launch={"paths_per_job": 1}))
    jobs = plan_jobs(plan, ["main", "branch-v1", "branch-v2"], FILE, [], profile=3)
    assert [job.arguments for job in jobs] == [
        ("train", "c.yaml", "--profile", "3", "main"),
        ("train", "c.yaml", "branch-v1"),
        ("train", "c.yaml", "branch-v2"),
    ]


@pytest.mark.parametrize(
    ("launch", "groups"),
    [
        ({"paths_per_job": 1}, [1, 1, 1]),
        ({"paths_per_job": 2}, [2, 1]),
        ({}, [3]),
        ({"at_once": 2}, [1, 1, 1]),
        ({"launcher": "slurm"}, [1, 1, 1]),
        ({"launcher": "slurm", "paths_per_job": 3}, [3]),
        ({"resources": {"main": {"processes": 2}}}, [1, 2]),
        ({"resources": {"ptfs": {"processes": 2}}}, [3]),
    ],
    ids=str,
)
def test_paths_are_cut_into_jobs(make_config: MakeConfig, launch: dict[str, Any], groups: list[int]) -> None:
    plan = make_plan(make_config(launch=launch))
    jobs = jobs_of(plan, "main", "branch-v1", "branch-v2")
    assert [len(job.paths) for job in jobs] == groups
    assert plan_jobs(plan, [], FILE, []) == ()


def test_a_job_waits_for_the_states_that_others_make(make_config: MakeConfig) -> None:
    plan = make_plan(make_config(launch={"at_once": 2}))
    jobs = {job.name: job for job in jobs_of(plan)}
    assert jobs["main"].after == jobs["ptfs-v3"].after == ()
    assert (jobs["branch-v2"].needs, jobs["branch-v2"].after) == ((Fork("main", 140),), ("main",))
    assert jobs["cpt-v3"].after == ("cpt-v2",)
    (branch,) = jobs_of(plan, "branch-v2")
    assert (branch.needs, branch.after) == ((), ()), "a state that no job makes is saved already"


def test_a_branch_may_have_fewer_devices(make_config: MakeConfig) -> None:
    slurm = {"partition": "small", "time_limit": "01:00:00"}
    resources = {"main": {"nodes": 2, "processes": 4, "partition": "big"}, "branch": {"processes": 4}}
    config = make_config(
        batch={"sequences": 8}, launch={"launcher": "slurm", "slurm": slurm, "processes": 2, "resources": resources}
    )
    main, branch, ptfs = jobs_of(make_plan(config), "main", "branch-v1", "ptfs-v2")
    assert (main.nodes, main.processes, main.resources.partition) == (2, 4, "big")
    assert (branch.nodes, branch.processes, branch.resources.partition) == (1, 4, "small")
    assert (ptfs.nodes, ptfs.processes, ptfs.resources.time_limit) == (1, 2, "01:00:00")


def test_a_hostfile_says_how_many_nodes(make_config: MakeConfig, tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    file.write_text("a slots=4\nb slots=4\n")
    launch = {"launcher": "deepspeed", "hostfile": str(file), "processes": 2, "resources": {"branch": {"nodes": 1}}}
    main, branch = jobs_of(make_plan(make_config(batch={"sequences": 8}, launch=launch)), "main", "branch-v1")
    assert (main.nodes, branch.nodes) == (2, 1)
    odd = make_plan(make_config(batch={"sequences": 6}, launch=launch))
    with pytest.raises(ConfigError, match="main, 2 nodes of 2 processes: batch.sequences 6 does not divide over 4"):
        jobs_of(odd, "main")
    jobs_of(odd, "branch-v1")
    file.unlink()
    with pytest.raises(ConfigError, match="launch.hostfile: cannot read"):
        jobs_of(odd, "branch-v1")


def test_the_job_that_leads_to_the_most_steps_starts_first(make_config: MakeConfig) -> None:
    plan = make_plan(make_config(launch={"at_once": 2}))
    jobs = jobs_of(plan)
    steps = {job.name: plan.graph.by_name[job.name].steps for job in jobs}
    chains = [steps[job.name] + _longest_wait(job, jobs, steps) for job in jobs]
    assert chains == sorted(chains, reverse=True)
    names = [job.name for job in jobs]
    assert names.index("ptfs-v4") < names.index("ptfs-v3") < names.index("ptfs-v2")


def _longest_wait(job: ProcessGroupJob, jobs: tuple[ProcessGroupJob, ...], steps: dict[str, int]) -> int:
    children = [each for each in jobs if job.name in each.after]
    return max((steps[each.name] + _longest_wait(each, jobs, steps) for each in children), default=0)


@given(
    size=st.none() | st.integers(1, 5),
    at_once=st.integers(1, 3),
    branch=st.none() | st.integers(1, 2),
    skipped=st.sets(st.integers(0, 11)),
)
def test_no_job_waits_for_a_later_one(size: int | None, at_once: int, branch: int | None, skipped: set[int]) -> None:
    launch = {"paths_per_job": size, "at_once": at_once, "resources": {"branch": {"processes": branch}}}
    plan = make_plan(Config.model_validate(config_values(launch=launch)))
    names = [name for i, name in enumerate(plan.graph.by_name) if i not in skipped]
    jobs = plan_jobs(plan, names, FILE, [])
    made = [name for job in jobs for name in job.paths]
    assert (made if at_once == 1 else sorted(made)) == (names if at_once == 1 else sorted(names))
    assert len({job.name for job in jobs}) == len(jobs)
    for i, job in enumerate(jobs):
        before = {each.name for each in jobs[:i]}
        assert set(job.after) <= before
        made = {name for each in jobs[:i] if each.name in job.after for name in each.paths}
        assert {fork.path for fork in job.needs} <= made
        assert not {fork.path for fork in job.needs} & set(job.paths)
