"""Which jobs start when, side by side and in a row, and what is reported of how they ended.

Real processes in a real run directory; they only pretend to train (tests/support/pretend_worker.py).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import lrps.launch.run
from lrps.base.errors import (
    NEEDS_DECISION,
    BudgetError,
    LrpsError,
    RepeatedFailureError,
    StoppedError,
    TrainingError,
)
from lrps.config.hardware import BudgetConfig
from lrps.config.launching import LaunchConfig
from lrps.launch.jobs import plan_jobs
from lrps.launch.launchers.local import LocalLauncher
from lrps.launch.launchers.torchrun import TorchrunLauncher
from lrps.launch.process_group import Allocation, LaunchCommand, ProcessGroupJob
from lrps.launch.run import commands_of, run_jobs
from lrps.plan.plan import Plan
from lrps.plan.status import plan_status
from support.run_builder import small_plan

WORKER = Path(__file__).parents[1] / "support" / "pretend_worker.py"
Deeds = Mapping[str, Sequence[str]]


class PretendLauncher(LocalLauncher):
    """Starts workers that do what `deeds` says for their job; keeps the allocations by job."""

    def __init__(self, launch: LaunchConfig, root: Path, deeds: Deeds) -> None:
        super().__init__(launch)
        self.root, self.deeds = root, deeds
        self.allocations: dict[str, Allocation] = {}

    def command(self, job: ProcessGroupJob, allocation: Allocation, environment: Mapping[str, str]) -> LaunchCommand:
        self.allocations[job.name] = allocation
        words = (sys.executable, str(WORKER), str(self.root), job.name, *self.deeds[job.name])
        return LaunchCommand(words, {**environment, "PYTHONPATH": os.pathsep.join(sys.path)})


class Run:
    """A plan whose jobs do what a test says. printed: the lines for the user. allocations: of the jobs, by name.

    notices: kind and facts of the events that were reported.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.printed, self.allocations = root, list[str](), dict[str, Allocation]()
        self.notices: list[tuple[str, Mapping[str, Any]]] = []
        self.budget: BudgetConfig | None = None

    def plan(self, **launch: object) -> Plan:
        plan = small_plan(self.root)
        changes = {"launch": LaunchConfig.model_validate(launch), "budget": self.budget}
        return replace(plan, config=plan.config.model_copy(update=changes))

    def jobs(self, deeds: Deeds, **launch: object) -> None:
        """Run the paths that have deeds, one per job."""
        plan = self.plan(**{"paths_per_job": 1, **launch})
        launcher = PretendLauncher(plan.config.launch, self.root, deeds)
        self.allocations = launcher.allocations
        run_jobs(
            plan,
            plan_jobs(plan, list(deeds), Path("c.yaml"), []),
            launcher,
            self.printed.append,
            lambda: "so far",
            lambda kind, facts: self.notices.append((kind, facts)),
        )

    @property
    def states(self) -> dict[str, str]:
        return {status.path.name: status.state for status in plan_status(self.plan()) if status.state != "planned"}

    def file(self, name: str) -> str:
        return str(self.root / name)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_in_a_row_they_print_where_we_do(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    run.jobs({"main": ["say:hello", "pin:40", "complete"], "branch-v1": ["say:there", "complete"]})
    assert run.states == {"main": "complete", "branch-v1": "complete"}
    assert capfd.readouterr().out.split() == ["hello", "there"]
    assert run.printed == []


def test_a_branch_trains_while_main_continues(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    begun = run.file("begun")
    # Main would never end if the branch waited for that.
    run.jobs(
        {"main": ["say:hello", "pin:40", f"wait:{begun}", "complete"], "branch-v1": [f"touch:{begun}", "complete"]},
        at_once=2,
        master_port=4000,
    )
    assert run.states == {"main": "complete", "branch-v1": "complete"}
    assert {name: allocation.port for name, allocation in run.allocations.items()} == {"main": 4000, "branch-v1": 4001}
    log = run.root / "small" / "launch" / "main.log"
    assert log.read_text() == "hello\n"
    assert capfd.readouterr().out == ""
    assert run.printed[0] == f"main: started; its output is in {log}"
    assert sorted(run.printed[-2:]) == ["branch-v1: complete", "main: complete"]


def test_no_more_at_a_time_than_at_once(run: Run) -> None:
    met = run.file("met")
    run.jobs(
        {
            "main": ["complete"],
            "ptfs-v1": [f"wait:{met}", "complete"],
            "ptfs-v2": [f"touch:{met}", "complete"],
            "ptfs-v3": ["complete"],
        },
        at_once=2,
        resources={"main": {"processes": 2}},  # There are devices for more of the others.
    )
    running = [0]
    for line in run.printed:
        running.append(running[-1] + (1 if ": started" in line else -1))
    assert (max(running), running[-1], len(running)) == (2, 0, 9)


def test_a_branch_point_that_was_saved_before_a_failure_serves(run: Run) -> None:
    deeds = {
        "main": ["pin:40", "say:out of memory", "exit:1"],
        "branch-v1": ["complete"],
        "branch-v2": ["complete"],
        "ptfs-v2": ["complete"],
    }
    with pytest.raises(TrainingError) as raised:
        run.jobs(deeds, at_once=2)
    assert run.states == {"main": "failed", "branch-v1": "complete", "ptfs-v2": "complete"}
    assert "ended with code 1 before main was complete; branch-v2 could not start; the reason is" in str(raised.value)
    (failure,) = (line for line in run.printed if "The end of" in line)
    assert failure.endswith("main.log:\n  out of memory")
    assert run.notices == [("failure", {"path": "main", "step": 40, "error": "exit code 1"})]


def test_of_a_flood_only_the_end_is_read(run: Run) -> None:
    log = run.root / "small" / "launch" / "ptfs-v1.log"
    log.parent.mkdir(parents=True)
    log.touch()
    os.truncate(log, 2**40)  # Holes: it takes no room, and would not fit into memory.
    with pytest.raises(TrainingError):
        run.jobs({"ptfs-v1": ["say:\nthe reason", "exit:1"], "ptfs-v2": ["complete"]}, at_once=2)
    (failure,) = (line for line in run.printed if "The end of" in line)
    assert failure.endswith("  the reason")
    assert len(failure) < 2 * lrps.launch.run.LOG_BYTES


@pytest.mark.parametrize(("codes", "kind"), [((2, 2), LrpsError), ((2, 1), TrainingError), ((0, 0), TrainingError)])
def test_success_is_the_run_directory_not_the_exit_code(run: Run, codes: tuple[int, int], kind: type) -> None:
    with pytest.raises(LrpsError) as raised:
        run.jobs({"ptfs-v1": [f"exit:{codes[0]}"], "ptfs-v2": [f"exit:{codes[1]}"]})
    assert type(raised.value) is kind
    assert f"code {codes[0]} before ptfs-v1 was complete; the training processes" in str(raised.value)
    assert f"code {codes[1]} before ptfs-v2 was complete" in str(raised.value)


def test_a_step_that_failed_again_needs_a_person_whatever_the_launcher_returns(run: Run) -> None:
    with pytest.raises(TrainingError):
        run.jobs({"main": ["fail:30", "exit:1"]})
    with pytest.raises(RepeatedFailureError, match=r"lrps rewind CONFIG main --to 20 --skip-from 27 --skip-steps 4"):
        run.jobs({"main": ["fail:30", "exit:1"]})


def test_after_a_group_saved_and_exited_no_other_starts(run: Run) -> None:
    with pytest.raises(StoppedError, match="stopped; ptfs-v1, ptfs-v2 not complete. Run the same command again"):
        run.jobs({"ptfs-v1": ["exit:75"], "ptfs-v2": ["complete"]})
    assert run.states == {}


def test_torchrun_hides_that_workers_saved_and_the_ledger_shows_it(run: Run) -> None:
    with pytest.raises(StoppedError, match="stopped; ptfs-v1 not complete"):
        run.jobs({"ptfs-v1": ["interrupt", "exit:1"]})
    assert run.notices == [], "a request to stop is no failure"
    with pytest.raises(TrainingError, match="ended with code 1 before ptfs-v1"):
        run.jobs({"ptfs-v1": ["exit:1"]})  # What was interrupted is an earlier attempt.
    assert run.notices == [("failure", {"path": "ptfs-v1", "step": 0, "error": "exit code 1"})]


def test_of_a_group_of_several_paths_the_one_that_failed_is_reported(run: Run) -> None:
    with pytest.raises(TrainingError):
        run.jobs({"main": ["pin:40", "exit:9"], "branch-v1": []}, paths_per_job=2)
    assert run.notices == [("failure", {"path": "main", "step": 40, "error": "exit code 9"})]


@pytest.mark.parametrize("code", [0, 1, NEEDS_DECISION])
def test_a_spent_budget_stops_all_and_starts_none(run: Run, code: int) -> None:
    """Whatever the launcher makes of the exit code; a group that begins afterwards ends before its first attempt."""
    run.budget = BudgetConfig(device_hours=2.0)
    deeds = {"ptfs-v1": ["interrupt:2.5", f"exit:{code}"], "ptfs-v2": [f"exit:{code}"], "ptfs-v3": ["complete"]}
    for left, names in ((set(), "ptfs-v1, ptfs-v2, ptfs-v3"), ({"ptfs-v1"}, "ptfs-v2, ptfs-v3")):
        with pytest.raises(BudgetError, match=f"the budget is spent; {names} not complete. Raise `budget`"):
            run.jobs({name: what for name, what in deeds.items() if name not in left})
        assert run.notices.pop() == ("budget", {"path": names})
        assert run.notices == []
    run.budget = BudgetConfig(device_hours=3.0)
    with pytest.raises(StoppedError, match="Run the same command again"):
        run.jobs({"ptfs-v3": ["interrupt", "exit:0"]})


def test_a_failure_beside_a_spent_budget_is_a_failure(run: Run) -> None:
    run.budget = BudgetConfig(device_hours=2.0)
    with pytest.raises(BudgetError):
        run.jobs({"ptfs-v1": ["interrupt:2.5"]})
    with pytest.raises(TrainingError, match="code 1 before main was complete"):
        run.jobs({"main": ["pin:40", "exit:1"]})


def test_how_far_the_plan_is_is_said_while_groups_run_side_by_side(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lrps.launch.run, "PROGRESS_SECONDS", 0.0)
    deeds = {"ptfs-v1": ["complete"], "ptfs-v2": ["complete"]}
    run.jobs(deeds, at_once=2)
    assert "so far" in run.printed
    run.printed.clear()
    run.jobs(deeds)
    assert run.printed == [], "a single group says it itself"


def test_a_signal_stops_all_and_starts_none(run: Run) -> None:
    up = [run.file("up-2"), run.file("up-3")]  # The longest groups start first.

    def when_both_are_up() -> None:
        while not all(map(os.path.exists, up)):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=when_both_are_up, daemon=True).start()
    deeds = {f"ptfs-v{k}": [f"touch:{run.file(f'up-{k}')}", "wait:nothing"] for k in (1, 2, 3)}
    with pytest.raises(StoppedError, match="stopped; ptfs-v[23], ptfs-v[23], ptfs-v1 not complete"):
        run.jobs(deeds, at_once=2)
    assert not os.path.exists(run.file("up-1"))


def test_a_dry_run_says_what_waits_for_what(run: Run) -> None:
    plan = run.plan(at_once=2, processes=2, master_port=4000, launcher="torchrun")
    jobs = plan_jobs(plan, ["main", "branch-v2"], Path("c.yaml"), [])
    lines = commands_of(plan, jobs, TorchrunLauncher(plan.config.launch)).splitlines()
    assert lines[0] == "# main: 1 x 2 processes; waits for nothing"
    assert lines[1].endswith(" -m lrps.cli train c.yaml main")
    assert lines[2] == "# branch-v2: 1 x 2 processes; waits for main at step 140"
    assert not plan.layout.run_dir.exists()
