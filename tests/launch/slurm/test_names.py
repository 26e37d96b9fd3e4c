"""The files and comments of a run's jobs."""

from __future__ import annotations

from pathlib import Path

from lrps.launch.slurm.names import comment_prefix, job_comment, output_file, script_file, slurm_directory


def test_the_comment_depends_on_the_run_directory_alone(tmp_path: Path) -> None:
    run, other = tmp_path / "runs" / "small", tmp_path / "other" / "small"
    run.mkdir(parents=True)
    assert comment_prefix(other) != comment_prefix(run)
    (tmp_path / "link").symlink_to(tmp_path / "runs")
    assert comment_prefix(tmp_path / "link" / "small") == comment_prefix(run), "whatever path leads to it"
    assert job_comment(run, ["main", "branch-v1"]) == comment_prefix(run) + "main,branch-v1"


def test_all_files_are_in_one_directory() -> None:
    directory = slurm_directory(Path("runs/small"))
    assert directory == Path.cwd() / "runs" / "small" / "slurm"
    assert script_file(Path("runs/small"), "main") == directory / "main.sbatch"
    assert output_file(Path("runs/small"), "main", "7") == directory / "main-7.out"
