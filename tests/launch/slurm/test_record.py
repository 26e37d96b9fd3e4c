"""The record of submitted jobs."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace

import pytest

from lrps.base.errors import SchedulerError
from lrps.launch.slurm.record import SubmittedJob, jobs_file, newest_jobs, one_submitter, record_job, submitted_jobs
from lrps.plan.plan import Plan

FIRST = SubmittedJob("7", ("main",), (), "2026-01-01T00:00:00+00:00")


def test_what_was_recorded_is_read(plan: Plan) -> None:
    assert submitted_jobs(plan.layout.run_dir) == ()
    jobs = (
        FIRST,
        replace(FIRST, job_id="8", paths=("branch-v1", "branch-v2"), after=("7",)),
        replace(FIRST, job_id="9"),
    )
    with one_submitter(plan.layout.run_dir):
        for job in jobs:
            record_job(plan.layout.run_dir, job)
    assert submitted_jobs(plan.layout.run_dir) == jobs
    assert newest_jobs(plan.layout.run_dir) == {"main": jobs[2], "branch-v1": jobs[1], "branch-v2": jobs[1]}
    with one_submitter(plan.layout.run_dir):
        record_job(plan.layout.run_dir, replace(FIRST, cancelled=True))
    assert [(job.job_id, job.cancelled) for job in submitted_jobs(plan.layout.run_dir)] == [
        ("7", True),
        ("8", False),
        ("9", False),
    ]


def test_a_record_of_before_there_were_cancelled_ones(plan: Plan) -> None:
    old = {"job_id": "7", "paths": ["main"], "after": [], "submitted": FIRST.submitted}
    jobs_file(plan.layout.run_dir).parent.mkdir(parents=True)
    jobs_file(plan.layout.run_dir).write_text(json.dumps({"format": "lrps-slurm-jobs/1", "jobs": [old]}))
    assert submitted_jobs(plan.layout.run_dir) == (FIRST,)


def test_a_directory_that_cannot_be_written(plan: Plan) -> None:
    """As one of another user is; root could write that."""
    jobs_file(plan.layout.run_dir).parent.parent.mkdir(parents=True, exist_ok=True)
    jobs_file(plan.layout.run_dir).parent.write_text("no directory")
    with (
        pytest.raises(SchedulerError, match="cannot be written .* as the owner of the run directory"),
        one_submitter(plan.layout.run_dir),
    ):
        pass


@pytest.mark.parametrize("content", ["", "[]", '{"jobs": [{"job_id": "7"}]}', "\xff"])
def test_a_record_that_cannot_be_read_says_how_to_fix_it(plan: Plan, content: str) -> None:
    jobs_file(plan.layout.run_dir).parent.mkdir(parents=True)
    jobs_file(plan.layout.run_dir).write_text(content, encoding="latin-1")
    with pytest.raises(SchedulerError, match="jobs.json: cannot be read .* delete it"):
        submitted_jobs(plan.layout.run_dir)


def test_one_submits_at_a_time(plan: Plan) -> None:
    events: list[str] = []

    def second() -> None:
        with one_submitter(plan.layout.run_dir):
            events.append("second")

    with one_submitter(plan.layout.run_dir):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.3)
        events.append("first")
    thread.join()
    assert events == ["first", "second"]
