"""Under random faults of many kinds, a plan ends as if undisturbed, and what it lost is booked as waste.

LRPS_FAULTS in the environment is the number of faults, 120 without it: `LRPS_FAULTS=40 pytest -s
tests/e2e/test_faults.py` says what struck. LRPS_FAULTS_SEED chooses other ones. The ranks are forked from a process
that has imported everything, so that a fault costs two seconds; what the launcher does with dying ranks is in
test_main_job.py.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from multiprocessing.context import ForkServerContext
from pathlib import Path

import psutil
import pytest

from lrps.audit.run import audit_run
from lrps.base.errors import NEEDS_DECISION, OUR_FAULT
from lrps.config.loader import load_config
from lrps.ledger.check import check_run
from lrps.ledger.metrics import read_metrics
from lrps.ledger.reader import evaluations, read_ledger
from lrps.ledger.totals import total
from lrps.plan.plan import Plan, make_plan
from lrps.store.copy.transfer import push_run
from lrps.store.layout import PathLayout
from lrps.store.newest import newest_intact
from support.fault_attempts import LIMIT, Attempt, config_below
from support.faults_worker import Plant
from support.planted_faults import GUARDS, FaultyRun, all_features
from support.preloaded import fork_server

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(3000)]

FAULTS = int(os.environ.get("LRPS_FAULTS", "120"))
SEED = int(os.environ.get("LRPS_FAULTS_SEED", "0"))
RANKS = 2


@pytest.fixture(scope="module")
def server() -> ForkServerContext:
    return fork_server()


@pytest.fixture(scope="module")
def undisturbed_by_ranks(
    server: ForkServerContext, tiny_config: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Plan]:
    """A plan that was run to its end in one attempt, by so many ranks. guard: that of a plan with all features."""

    @cache
    def run(ranks: int, guard: str | None = None) -> Plan:
        more = {} if guard is None else all_features(guard)
        file = config_below(tmp_path_factory.mktemp("undisturbed"), tiny_config, **more)
        attempt = Attempt(server, file, ranks=ranks, wild=None if guard is None else GUARDS[guard])
        assert attempt.end(), attempt.told()[-3000:]
        return make_plan(load_config(file))

    return run


@pytest.fixture(scope="module")
def undisturbed(undisturbed_by_ranks: Callable[..., Plan]) -> Plan:
    return undisturbed_by_ranks(RANKS)


def assert_same_states(ours: PathLayout, theirs: PathLayout) -> None:
    """Every branch point, released state and merge, and the last state of the path, byte for byte."""
    pins = [sorted(each.name for each in layout.branch_points.glob("step-*")) for layout in (ours, theirs)]
    assert pins[0] == pins[1]
    places = (*theirs.branch_points.glob("step-*"), *theirs.merged.glob("*"), max(theirs.checkpoints.glob("step-*")))
    files = [file.relative_to(theirs.directory) for place in places for file in place.glob("*.safetensors")]
    assert files
    for file in files:
        assert (ours.directory / file).read_bytes() == (theirs.directory / file).read_bytes(), file


def assert_same_run(undisturbed: Plan, run_dir: Path) -> None:
    """States and the losses of all steps are equal, and the audit of the run finds every row used once."""
    for path in undisturbed.graph.paths:
        ours, theirs = PathLayout(run_dir / path.name), undisturbed.layout.path(path.name)
        assert_same_states(ours, theirs)
        losses = [[(m.step, m.loss) for m in read_metrics(layout.metrics)] for layout in (ours, theirs)]
        assert losses[0] == losses[1]
        evaluated = [
            {key: found.loss for key, found in evaluations(read_ledger(layout.ledger)).items()}
            for layout in (ours, theirs)
        ]
        assert evaluated[0] == evaluated[1]
    assert_whole(undisturbed, run_dir)


def assert_whole(plan: Plan, run_dir: Path) -> None:
    """The audit finds every row used once, and the ledgers are sound."""
    assert audit_run(run_dir, plan.config.data.root).differences == ()
    assert all(check.fault is None for check in check_run(run_dir))


def lost_steps(plan: Plan, run_dir: Path) -> int:
    """Steps that were trained more than once, as the ledger says; checked against its single records."""
    lost = 0
    for path in plan.graph.paths:
        records = list(read_ledger(PathLayout(run_dir / path.name).ledger))
        totals = total(records)
        passed = (record.facts["last"] - record.facts["first"] + 1 for record in records if record.kind == "skip")
        assert totals.spent.steps == sum(record.kind == "heartbeat" for record in records) + sum(passed)
        assert totals.spent.tokens == totals.spent.steps * plan.config.tokens_per_step
        assert totals.useful_steps == path.stop - path.start
        lost += totals.repeated_steps
    return lost


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path | None]:
    """A file system of its own that may be filled; None where none can be mounted."""
    directory = tmp_path_factory.mktemp("disk")
    mounted = not subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(directory)]).returncode
    yield directory if mounted else None
    if mounted:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


def test_faults_change_nothing_and_are_booked(
    server: ForkServerContext,
    undisturbed_by_ranks: Callable[..., Plan],
    tiny_config: Path,
    tmp_path: Path,
    disk: Path | None,
) -> None:
    struck: Counter[str] = Counter()
    lost, number = 0, 0
    while struck.total() < FAULTS:
        rng, ranks = random.Random(f"{SEED} {number}"), RANKS if number % 4 == 3 else 1
        runs = (disk or tmp_path) / f"runs-{number}"
        runs.mkdir()
        guard = sorted(GUARDS)[number % len(GUARDS)]
        file = config_below(tmp_path / f"run-{number}", tiny_config, runs, **all_features(guard))
        run = FaultyRun(server, file, rng, ranks, disk is not None, guard)
        print(f"LRPS_FAULTS_SEED={SEED}, run {number}, {ranks} rank(s), a guard that {guard}s:", flush=True)
        while not run.complete and struck.total() + run.struck.total() < FAULTS:
            run.strike()
        for _ in range(4):  # The same command, or the one that the message names.
            if run.end(run.attempt(), OUR_FAULT):
                break
        assert run.complete
        undisturbed = undisturbed_by_ranks(ranks, guard)
        if run.left_out:
            assert_whole(undisturbed, run.run_dir)
        else:
            assert_same_run(undisturbed, run.run_dir)
        lost += lost_steps(undisturbed, run.run_dir)
        struck += run.struck
        print(f"  {dict(run.struck)}; {struck.total()} faults, {lost} steps repeated", flush=True)
        shutil.rmtree(runs)
        number += 1
    assert lost > 0, "no fault struck a step"


def test_a_broken_state_heals_once_and_a_fault_that_repeats_names_the_command(
    server: ForkServerContext, undisturbed_by_ranks: Callable[..., Plan], tiny_config: Path, tmp_path: Path
) -> None:
    """The update of step 11 breaks the weights, and the state after it is saved: main saves every 4 steps."""
    heals, repeats = config_below(tmp_path / "heals", tiny_config), config_below(tmp_path / "repeats", tiny_config)
    broken = Plant(11, "break")
    failed = Attempt(server, heals, ranks=1, plants={0: broken})
    assert not failed.end()
    assert failed.codes() == [OUR_FAULT], failed.told()
    assert "the next attempt goes back to the confirmed state of step 8. Run the same command again" in failed.told()
    again = Attempt(server, heals, ranks=1)
    assert again.end(), again.told()
    assert_same_run(undisturbed_by_ranks(1), again.run_dir)
    assert (again.run_dir / "main" / "checkpoints" / ".doubtful-step-00000012").is_dir()
    totals = total(read_ledger(PathLayout(again.run_dir / "main").ledger))
    assert (totals.repeated_steps, set(totals.repeating_by_cause)) == (totals.spent.steps - 28, {"doubt"})
    codes = []
    for _ in range(3):
        attempt = Attempt(server, repeats, ranks=1, plants={0: broken})
        attempt.end()
        codes += attempt.codes()
    assert codes == [OUR_FAULT, NEEDS_DECISION, NEEDS_DECISION]
    assert attempt.told().count("lrps rewind CONFIG main --to 8 --skip-from 9 --skip-steps") == 2
    assert len(list(PathLayout(attempt.run_dir / "main").ledger.iterdir())) == 2, "the third attempt was refused"
    named = re.search(r"lrps rewind CONFIG (main --to 8 --skip-from 9 --skip-steps [0-9]+)", attempt.told())
    assert named is not None
    subprocess.run([sys.executable, "-m", "lrps", "rewind", repeats, *named[1].split(), "--yes"], check=True)
    past = Attempt(server, repeats, ranks=1, plants={0: broken})
    assert not past.end(), "main passes the step; branch-v1, which trains a step of this number too, meets the fault"
    assert total(read_ledger(PathLayout(past.run_dir / "main").ledger)).state == "complete"
    last = Attempt(server, repeats, ranks=1)
    assert last.end(), last.told()
    audit = audit_run(last.run_dir)
    assert audit.ok, audit.differences
    assert audit.skipped_steps == int(named[1].split()[-1])


def test_a_stuck_rank_ends_the_run(server: ForkServerContext, tiny_config: Path, tmp_path: Path) -> None:
    file = config_below(tmp_path, tiny_config)
    attempt = Attempt(server, file, "launch.collective_timeout_minutes=0.5", plants={1: Plant(9, "halt")})
    assert attempt.wait_for(3), attempt.told()
    waiting, stuck = attempt.ranks
    psutil.Process(stuck.pid).suspend()
    waiting.join(LIMIT)
    assert waiting.exitcode == 1, attempt.told()
    assert "which failed, was killed or is stuck" in attempt.told()
    stuck.kill()  # the launcher's task
    assert not attempt.end()
    (*_, last) = read_ledger(PathLayout(attempt.run_dir / "main").ledger)
    assert last.kind == "failure"
    assert "TrainingError: rank 0 lost another process" in last.facts["error"]


def test_a_run_goes_on_from_an_object_store_as_if_it_had_never_moved(
    server: ForkServerContext,
    undisturbed: Plan,
    tiny_config: Path,
    tmp_path: Path,
    s3: Callable[[str, bytes], None],
) -> None:
    file = config_below(tmp_path, tiny_config)
    attempt = Attempt(server, file, plants=dict.fromkeys(range(RANKS), Plant(27, "halt")))
    assert attempt.wait_for(12), attempt.told()
    push_run(attempt.run_dir, "s3://lake/teams/tiny")  # while it is trained, which halts before step 26 of 28
    for rank in attempt.ranks:
        rank.kill()
    assert not attempt.end()
    shutil.rmtree(attempt.run_dir)  # the machine is gone
    pull = [sys.executable, "-m", "lrps.cli", "pull", str(file), "s3://lake/teams/tiny"]
    subprocess.run(pull, check=True, timeout=LIMIT)
    layout = PathLayout(attempt.run_dir / "main")
    newest, _ = newest_intact(layout.checkpoints, layout.branch_points)
    assert newest is not None
    saved = [record.saved_step for record in read_ledger(layout.ledger) if record.kind == "checkpoint"]
    assert newest.step in saved
    again = Attempt(server, file)
    assert again.end(), again.told()[-3000:]
    assert_same_run(undisturbed, again.run_dir)
    push_run(again.run_dir, "s3://lake/teams/tiny")
    assert {group.action for group in push_run(again.run_dir, "s3://lake/teams/tiny").groups} == {"skip"}
