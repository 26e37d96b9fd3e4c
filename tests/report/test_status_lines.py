"""A status in lines."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lrps.base.locks import path_lock
from lrps.costs.status_document import PathProgress, SlurmJob, status_document
from lrps.plan.status import plan_status
from lrps.report.status_lines import done_share, job_text, mfu_text, status_block, warning_lines


def test_the_block_names_what_is_under_way_or_in_trouble(make: Any, formulas: Any) -> None:
    plan = make()
    formulas.Run(plan).train(["main", "ptfs-v1", "cpt-v2"], stop_at={"main": 850, "cpt-v2": 700})
    with path_lock(plan.layout.path("main").directory):
        document = status_document(plan, plan_status(plan))
    first, *rest = document.paths
    document = replace(document, paths=(replace(first, warning="no sign of life for 4m00s"), *rest))
    head, totals, *paths, warning = status_block(document)
    assert head[9:] == "small: running: 1 running, 9 planned, 1 complete, 1 interrupted"
    assert totals.startswith("  1,550 of 9,400 steps (16.5%); device time: ")
    assert [line.split(", loss")[0] for line in paths] == [
        "  main: running, step 850 of 1,700",
        "  cpt-v2: interrupted, step 700 of 1,000",
    ]
    assert warning == "  warning: main: no sign of life for 4m00s"


@pytest.fixture
def path(make: Any) -> PathProgress:
    """The main path of a plan of which nothing was trained."""
    plan = make()
    return status_document(plan, plan_status(plan)).paths[0]


def test_what_is_done(path: PathProgress) -> None:
    path = replace(path, state="failed", start_step=200, stop_step=600, step=300, live_step=400)
    assert done_share(path) == 0.25, "what follows the checkpoint is lost"
    assert done_share(replace(path, state="running")) == 0.5
    assert done_share(replace(path, step=900)) == 1.0, "of a path that went further in another plan"


def test_a_small_mfu_is_not_shown_as_none() -> None:
    assert [mfu_text(value) for value in (None, 1e-6, 0.4321)] == ["n/a", "<0.1%", "43.2%"]


def test_the_job_of_a_path(path: PathProgress) -> None:
    job = SlurmJob("12", "PENDING", "Dependency", None)
    jobs = [job, replace(job, state="RUNNING"), replace(job, reason=""), replace(job, state=None), None]
    texts = ["12 PENDING (Dependency)", "12 RUNNING", "12 PENDING", "12 unknown", "n/a"]
    assert [job_text(replace(path, slurm=each)) for each in jobs] == texts


def test_a_version_on_which_nothing_can_be_evaluated_has_a_line(make: Any) -> None:
    plan = make()
    document = replace(status_document(plan, plan_status(plan)), without_heldout=("v2",))
    assert warning_lines(document) == ["note: v2 holds out no whole sequence: all losses on it are n/a"]
