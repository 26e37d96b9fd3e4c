"""The batch script in a real Slurm: what signals make of it. Its processes pretend to train."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lrps.base.errors import NEEDS_DECISION
from lrps.launch.slurm.names import output_file
from lrps.launch.slurm.script import script_text
from lrps.launch.slurm.submit import submit
from lrps.plan.plan import Plan
from support.private_slurm import PrivateSlurm, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def start(plan: Plan, cluster: PrivateSlurm, pretend: Callable[..., Any]) -> Callable[..., str]:
    """Submit a job that does a statement first; its id once the worker is up."""

    def submitted(statement: str = "pass", path: str = "main", partition: str | None = None) -> str:
        *_, job = submit(plan, [path], lambda names: [pretend(name, statement, partition) for name in names])
        if path == SIGNALLED_EARLY:
            return job.job_id
        wait_until(lambda: (plan.layout.path(path).directory / "up-0").exists(), "the worker")
        return job.job_id

    return submitted


SECOND_ENDS = "if attempt == '1': sys.exit(0)"
SIGNALLED_EARLY = "ptfs-v4"
"""The fixture `plan` sends its job USR1 while `setup` runs."""


def saves(plan: Plan, path: str = "main") -> list[str]:
    return sorted(place.name for place in plan.layout.path(path).checkpoints.glob("*"))


def test_signalled_before_its_end_it_saves_and_is_queued_again(
    plan: Plan, cluster: PrivateSlurm, start: Callable[..., str]
) -> None:
    """By a signal, by one that comes before the processes do, and by Slurm: side by side, each waits for seconds."""
    signalled, requeued, early = (
        start(SECOND_ENDS, "ptfs-v1"),
        start(SECOND_ENDS, "ptfs-v2"),
        start(SECOND_ENDS, SIGNALLED_EARLY),
    )
    cluster.command("scancel", "--batch", "--signal=USR1", signalled)
    cluster.command("scontrol", "requeue", requeued)
    for job in (signalled, requeued, early):
        cluster.wait_for(job, "COMPLETED")
    output = output_file(plan.layout.run_dir, "ptfs-v1", signalled).read_text()
    assert output.index("attempt 1,") < output.index("queued again") < output.index("attempt 2,")
    assert saves(plan, "ptfs-v1") == saves(plan, "ptfs-v2") == ["step-0"]
    assert "queued again" not in output_file(plan.layout.run_dir, "ptfs-v2", requeued).read_text(), (
        "Slurm had done that"
    )
    assert "queued again" in output_file(plan.layout.run_dir, SIGNALLED_EARLY, early).read_text()


def test_preempted_it_saves_and_is_queued_again(plan: Plan, cluster: PrivateSlurm, start: Callable[..., str]) -> None:
    """By the signal where the cluster has a grace time, and by TERM where it has none."""
    signalled, abrupt = start(SECOND_ENDS, "ptfs-v1"), start(SECOND_ENDS, "ptfs-v2", "abrupt")
    urgent = ("--partition=urgent", "--nodes=3", "--exclusive", "--output=/dev/null", "--wrap=true")
    cluster.command("sbatch", *urgent)
    for job in (signalled, abrupt):
        cluster.wait_for(job, "COMPLETED")
    assert saves(plan, "ptfs-v1") == saves(plan, "ptfs-v2") == ["step-0"]
    assert "queued again" in output_file(plan.layout.run_dir, "ptfs-v1", signalled).read_text(), (
        "the script did it itself"
    )
    # Without a grace time the script and Slurm race to do it.
    for path, job in (("ptfs-v1", signalled), ("ptfs-v2", abrupt)):
        assert "attempt 2," in output_file(plan.layout.run_dir, path, job).read_text()


def test_cancelled_by_hand_it_saves_and_stays_away(
    plan: Plan, cluster: PrivateSlurm, start: Callable[..., str]
) -> None:
    job = start()
    cluster.command("scancel", job)
    wait_until(lambda: "the processes ended" in output_file(plan.layout.run_dir, "main", job).read_text(), "the end")
    cluster.wait_for(job, "CANCELLED")
    assert saves(plan) == ["step-0"]
    assert "queued again" not in output_file(plan.layout.run_dir, "main", job).read_text()


def test_a_failure_or_a_spent_budget_is_not_tried_again(
    plan: Plan, cluster: PrivateSlurm, start: Callable[..., str]
) -> None:
    """Not even if it was asked to stop meanwhile."""
    codes = {1: "ptfs-v1", NEEDS_DECISION: "ptfs-v2"}
    jobs = {code: start(f"while not asked: time.sleep(0.05)\nsys.exit({code})", codes[code]) for code in codes}
    for job in jobs.values():
        cluster.command("scancel", "--batch", "--signal=USR1", job)
    for code, job in jobs.items():
        cluster.wait_for(job, "FAILED")
        output = output_file(plan.layout.run_dir, codes[code], job).read_text()
        assert f"the processes ended with {code}\n" in output
        assert "queued again" not in output


def test_a_job_that_never_gets_to_save_gives_up(plan: Plan, cluster: PrivateSlurm, start: Callable[..., str]) -> None:
    idle = plan.layout.run_dir / "slurm" / "main-"
    job = start(f"open('{idle}' + os.environ['SLURM_JOB_ID'] + '.idle', 'w').write('1\\n2\\n'); sys.exit(75)")
    cluster.wait_for(job, "FAILED")
    assert "lrps: three attempts in a row were stopped before they could save" in (
        output_file(plan.layout.run_dir, "main", job).read_text()
    )


def test_what_aborts_when_all_is_done_has_succeeded(
    plan: Plan, cluster: PrivateSlurm, pretend: Callable[..., Any]
) -> None:
    """Processes may abort while they end, after the last record."""
    aborts = "os.abort()"
    with_success = script_text(plan, pretend("main", aborts))
    question = next(line for line in with_success.splitlines() if "lrps.launch.slurm.finished" in line)
    for answer, state in (("true", "COMPLETED"), ("false", "FAILED")):
        file = plan.layout.run_dir / "slurm" / f"{answer}.sbatch"
        file.parent.mkdir(parents=True, exist_ok=True)
        asked = question[question.index("&& ") + 3 : question.index("; then")].split("&& ")[-1]
        file.write_text(with_success.replace(asked, answer))
        job = cluster.command("sbatch", "--parsable", str(file)).strip()
        cluster.wait_for(job, state)
