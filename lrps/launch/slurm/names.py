"""What belongs to a run in Slurm is called: files in <run>/slurm, and the comments by which its jobs are known."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from lrps.plan.plan import Plan


def slurm_directory(plan: Plan) -> Path:
    """Where scripts, outputs and the record of jobs lie."""
    return plan.layout.run_dir.absolute() / "slurm"


def script_file(plan: Plan, name: str) -> Path:
    """Of the job `name`."""
    return slurm_directory(plan) / f"{name}.sbatch"


def output_file(plan: Plan, name: str, job_id: str) -> Path:
    """What a job prints, all its attempts one after the other."""
    return slurm_directory(plan) / f"{name}-{job_id}.out"


def comment_prefix(plan: Plan) -> str:
    """How the comments of a run's jobs begin: run directories differ, names of plans may not."""
    return f"lrps:{hashlib.sha256(str(plan.layout.run_dir.resolve()).encode()).hexdigest()[:16]}:"


def job_comment(plan: Plan, paths: Sequence[str]) -> str:
    """By what a job is known in the queue."""
    return comment_prefix(plan) + ",".join(paths)
