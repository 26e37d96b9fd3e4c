"""Commands, and what is checked before anything is started."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lrps.config.loader import load_config
from lrps.config.models import Config
from lrps.errors import DataError, TrainingError
from lrps.launch import Job, check_data, plan_jobs, run_jobs, unfinished
from lrps.plan import make_plan

MakeConfig = Callable[..., Config]


def test_a_job_is_one_deepspeed_command(make_config: MakeConfig) -> None:
    plan = make_plan(make_config(launch={"processes": 2, "master_port": 4321}))
    (job,) = plan_jobs(plan, ["main", "branch-v1"], Path("c.yaml"), ["seed=3"])
    deepspeed = str(Path(sys.executable).with_name("deepspeed"))
    assert str(job) == (
        f"{deepspeed} -q --num_gpus 2 --master_port 4321 --no_local_rank "
        "--module lrps.cli train c.yaml --set seed=3 main branch-v1"
    )


def test_several_hosts_are_a_hostfile(make_config: MakeConfig) -> None:
    launch = {"launcher": "deepspeed", "hostfile": "launch/hostfile", "processes": 8}
    (job,) = plan_jobs(make_plan(make_config(launch=launch)), ["main"], Path("c.yaml"), [])
    assert "--hostfile launch/hostfile --num_gpus 8 --master_port 29500" in str(job)


@pytest.mark.parametrize(("size", "groups"), [(1, [1, 1, 1]), (2, [2, 1]), (None, [3])])
def test_paths_are_cut_into_jobs(make_config: MakeConfig, size: int | None, groups: list[int]) -> None:
    plan = make_plan(make_config(launch={"paths_per_job": size}))
    jobs = plan_jobs(plan, ["main", "branch-v1", "branch-v2"], Path("c.yaml"), [])
    assert [len(job.paths) for job in jobs] == groups
    assert plan_jobs(plan, [], Path("c.yaml"), []) == ()


def test_everything_is_unfinished_at_first(make_config: MakeConfig, tmp_path: Path) -> None:
    plan = make_plan(make_config(runs=str(tmp_path)))
    assert [status.path.name for status in unfinished(plan)] == list(plan.graph.by_name)
    only = [status.path.name for status in unfinished(plan, ["cpt"])]
    assert only == ["ptfs-v1", "cpt-v2", "cpt-v3", "cpt-v4"], "shared paths belong to both"


def test_missing_shards_are_named(make_config: MakeConfig) -> None:
    with pytest.raises(DataError, match="no shards in nowhere for version v1, v2, v3, v4; run `lrps data build"):
        check_data(make_plan(make_config()))


def test_shards_from_elsewhere_are_fetched(make_config: MakeConfig) -> None:
    values = [{"name": "v1", "tokens": 1600, "url": "s3://lake/v1"}, {"name": "v2", "tokens": 1600}]
    plan = make_plan(make_config(data={"root": "nowhere", "sequence_length": 8, "versions": values}))
    with pytest.raises(
        DataError, match="version v1, v2; run `lrps data fetch CONFIG` and `lrps data build CONFIG` first"
    ):
        check_data(plan)


def test_rehearsal_sets_must_be_there_if_they_are_read(tiny_config: Path) -> None:
    sets = "data.rehearsal=[{name: r, since: v1, tokens: 80}, {name: v3, since: v1, tokens: 80}]"
    check_data(make_plan(load_config(tiny_config, [sets])))
    with pytest.raises(DataError, match=r"for version r; run"):
        check_data(make_plan(load_config(tiny_config, [sets, "paradigms.cpt.mix={new: 0.5, rehearsal: 0.5}"])))


@pytest.mark.parametrize("code", [0, 1, 3])
def test_success_is_the_run_directory_not_the_exit_code(make_config: MakeConfig, tmp_path: Path, code: int) -> None:
    plan = make_plan(make_config(runs=str(tmp_path)))
    liar = Job(("main",), (sys.executable, "-c", f"raise SystemExit({code})", "--num_gpus", "1"))
    with pytest.raises(TrainingError, match=f"ended with code {code} before main was complete"):
        run_jobs(plan, [liar])
