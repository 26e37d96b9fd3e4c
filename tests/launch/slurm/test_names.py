"""What belongs to a run in Slurm is called."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lrps.launch.slurm.names import comment_prefix, job_comment, output_file, script_file, slurm_directory
from lrps.plan.plan import Plan


def elsewhere(plan: Plan, runs: Path) -> Plan:
    return replace(plan, config=plan.config.model_copy(update={"runs": runs}))


def test_runs_of_one_name_in_two_places_are_two(plan: Plan, tmp_path: Path) -> None:
    assert comment_prefix(elsewhere(plan, tmp_path / "other")) != comment_prefix(plan)
    (tmp_path / "link").symlink_to(tmp_path)
    assert comment_prefix(elsewhere(plan, tmp_path / "link")) == comment_prefix(plan), "however it is reached"


def test_all_files_lie_in_one_directory(plan: Plan) -> None:
    directory = slurm_directory(plan)
    assert directory.is_absolute()
    assert script_file(plan, "main") == directory / "main.sbatch"
    assert output_file(plan, "main", "7") == directory / "main-7.out"
    assert job_comment(plan, ["main", "branch-v1"]) == comment_prefix(plan) + "main,branch-v1"
