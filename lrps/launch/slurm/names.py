"""Names in Slurm: the files in <run>/slurm, and the comments that identify the jobs of a run."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path


def slurm_directory(run_dir: Path) -> Path:
    """Return the directory of scripts, outputs and the record of jobs."""
    return run_dir.absolute() / "slurm"


def script_file(run_dir: Path, name: str) -> Path:
    """Return the file of the batch script of job `name`."""
    return slurm_directory(run_dir) / f"{name}.sbatch"


def output_file(run_dir: Path, name: str, job_id: str) -> Path:
    """Return the file to which all attempts of a job append their output."""
    return slurm_directory(run_dir) / f"{name}-{job_id}.out"


def comment_prefix(run_dir: Path) -> str:
    """Return the beginning of the comments of a run's jobs; plans may have equal names, run directories do not."""
    return f"lrps:{hashlib.sha256(str(run_dir.resolve()).encode()).hexdigest()[:16]}:"


def job_comment(run_dir: Path, paths: Sequence[str]) -> str:
    """Return the comment that identifies the job of these paths in the queue."""
    return comment_prefix(run_dir) + ",".join(paths)
