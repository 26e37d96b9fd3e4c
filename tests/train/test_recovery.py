"""What reruns do after failed steps: a broken state heals once, a fault that repeats is named, and nothing is lost."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from lrps.audit.run import audit_run
from lrps.base.errors import NEEDS_DECISION, LineageError, NonFiniteLoss, RepeatedFailureError
from lrps.config.loader import load_config
from lrps.data.build.build import build_data
from lrps.launch.jobs import unfinished_paths
from lrps.launch.preflight import check_forks
from lrps.ledger.reader import read_ledger
from lrps.ledger.totals import total
from lrps.plan.plan import Plan, make_plan
from lrps.plan.prune import prune_run
from lrps.plan.recovery import path_states
from lrps.plan.status import path_status
from lrps.store.checkpoints import complete_checkpoints
from lrps.store.copy.transfer import push_run
from lrps.store.layout import PathLayout
from support.plain_engine import PlainEngine, before_steps, broken_updates, run
from support.raw_evaluations import raw_evaluations

Make = Callable[..., Plan]
PATHS = ("main", "branch-v1", "branch-v2")


@pytest.fixture
def make(tiny_config: Path, tmp_path: Path) -> Make:
    """make(name, "key=value", ...) -> the tiny plan with its run in a directory of its own.

    Main has 28 steps and forks at 8 and 28; states are saved every 5 steps.
    """
    short = ["paradigms={path-switching: {alpha: 0.6}}", "checkpoint.every_steps=5"]
    return lambda name, *settings: make_plan(load_config(tiny_config, [f"runs={tmp_path / name}", *short, *settings]))


@pytest.fixture
def undisturbed(make: Make) -> Plan:
    plan = make("undisturbed")
    assert run(plan, *PATHS)
    return plan


def pins(plan: Plan) -> dict[str, bytes]:
    """Return the files of all pinned states."""
    run_dir = plan.layout.run_dir
    files = sorted(run_dir.glob("*/branch_points/step-*/*.safetensors"))
    return {file.relative_to(run_dir).as_posix(): file.read_bytes() for file in files}


def saved(layout: PathLayout) -> list[int]:
    return [found.step for found in complete_checkpoints(layout.checkpoints)]


def aside(layout: PathLayout) -> list[str]:
    return sorted(each.name for place in (layout.checkpoints, layout.branch_points) for each in place.glob(".d*"))


def assert_as_undisturbed(plan: Plan, undisturbed: Plan) -> None:
    assert pins(plan) == pins(undisturbed)
    assert audit_run(plan.layout.run_dir).differences == ()
    assert all(path_status(plan, path).state == "complete" for path in plan.graph.paths)


@pytest.mark.parametrize("asynchronous", ["true", "false"])
@pytest.mark.parametrize(("broken", "given_up"), [(14, [15]), (19, [20]), (7, [8])])
def test_a_state_that_was_saved_broken_heals_by_the_same_command(
    make: Make, undisturbed: Plan, broken: int, given_up: list[int], asynchronous: str
) -> None:
    """The update of a step breaks the weights, and its state is saved before a loss shows it."""
    plan = make("broken", f"checkpoint.asynchronous={asynchronous}")
    main = plan.layout.path("main")
    with (
        broken_updates(broken),
        pytest.raises(NonFiniteLoss, match=r"(?s)main: step \d+: .*Run the same command again"),
    ):
        run(plan, *PATHS)
    assert run(plan, *PATHS)
    assert_as_undisturbed(plan, undisturbed)
    starts = [record for record in read_ledger(main.ledger) if record.kind == "start"]
    assert [start.facts.get("doubtful") for start in starts] == [None, given_up]
    assert {f".doubtful-step-{step:08d}" for step in given_up} == set(aside(main))
    causes = total(read_ledger(main.ledger)).repeating_by_cause
    assert set(causes) == {"doubt"}


def test_a_fault_from_a_confirmed_state_just_resumes(make: Make, undisturbed: Plan) -> None:
    plan = make("resumes")
    with broken_updates(12), pytest.raises(NonFiniteLoss, match="it resumes from step 10, and says what to do"):
        run(plan, *PATHS)
    (failure,) = [record for record in read_ledger(plan.layout.path("main").ledger) if record.kind == "failure"]
    assert (failure.facts["at"], failure.facts["cause"]) == (14, "non-finite")
    assert run(plan, *PATHS)
    assert_as_undisturbed(plan, undisturbed)
    assert aside(plan.layout.path("main")) == []


def test_a_kill_at_any_moment_of_going_back_leads_to_the_same_end(make: Make, undisturbed: Plan) -> None:
    plan = make("killed")
    with broken_updates(14), pytest.raises(NonFiniteLoss):
        run(plan, "main")

    def die(step: int) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lrps.train.trainer.set_aside_skipped", die)
        with pytest.raises(KeyboardInterrupt):
            run(plan, "main")  # The start is in the ledger, and the broken state still in its place.
    for steps in (1, 4, 7):
        assert not run(plan, "main", stop_after=steps)
    assert run(plan, *PATHS)
    assert_as_undisturbed(plan, undisturbed)


def test_a_fault_that_repeats_is_refused_with_the_commands_to_choose_from(make: Make) -> None:
    plan = make("repeats")
    main = plan.layout.path("main")
    with broken_updates(14):
        with pytest.raises(NonFiniteLoss, match="the next attempt goes back to the confirmed state of step 10"):
            run(plan, *PATHS)
        with pytest.raises(RepeatedFailureError) as failed:
            run(plan, *PATHS)
        before = [record.sha256 for record in read_ledger(main.ledger)]
        with pytest.raises(RepeatedFailureError) as refused:
            run(plan, *PATHS)
    assert str(failed.value) == str(refused.value)
    assert [record.sha256 for record in read_ledger(main.ledger)] == before, "no attempt was made"
    assert refused.value.exit_code == NEEDS_DECISION
    command = re.search(r"lrps rewind CONFIG main --to 10 --skip-from (\d+) --skip-steps (\d+)", str(refused.value))
    assert command is not None
    first, steps = map(int, command.groups())
    assert {14, 15} <= set(range(first, first + steps)), "the step that broke the weights, and the one that showed it"
    assert not re.search("another|--to 0", str(refused.value))
    assert "lrps rewind CONFIG main --to 10" in (path_status(plan, plan.graph.by_name["main"]).failure or "")


def test_a_path_that_saved_nothing_may_be_trained_with_other_settings(make: Make) -> None:
    plan = make("nothing")
    for _ in range(3):
        with (
            broken_updates(1),
            pytest.raises(NonFiniteLoss, match="nothing of main is saved yet: .* keep its `name`"),
        ):
            run(plan, "main")
    assert run(make("nothing", "schedule.peak_lr=1e-3"), "main")


def test_the_last_state_of_a_path_is_put_in_doubt_by_its_child(make: Make, undisturbed: Plan) -> None:
    plan = make("child")
    with broken_updates(27):
        assert run(plan, "main"), "nobody has used its last state yet"
        main = plan.layout.path("main")
        assert 25 in saved(main), "the newest confirmed state stays beside the last one"
        with pytest.raises(NonFiniteLoss):
            run(plan, "branch-v2")
    assert path_status(plan, plan.graph.by_name["main"]).state == "failed"
    with pytest.raises(LineageError, match="branch-v2 forks from main at step 28, whose state may be broken"):
        run(plan, "branch-v2")
    assert run(plan, *PATHS)
    assert_as_undisturbed(plan, undisturbed)


def test_the_last_state_of_a_branch_is_put_in_doubt_by_its_evaluation(make: Make, undisturbed: Plan) -> None:
    plan = make("evaluated")
    assert run(plan, "main")
    with broken_updates(19), pytest.MonkeyPatch.context() as patch:
        evaluate = PlainEngine.evaluate
        patch.setattr(PlainEngine, "evaluate", lambda *held: replace(evaluate(*held), total=float("nan")))
        with pytest.raises(NonFiniteLoss, match="the held-out loss on v1 is nan"):
            run(plan, "branch-v1")
    status = path_status(plan, plan.graph.by_name["branch-v1"])
    assert status.state == "failed"
    assert status.confirmed_step == 15
    assert run(plan, *PATHS)
    assert_as_undisturbed(plan, undisturbed)


def test_what_was_pushed_before_it_was_given_up_is_replaced_there(
    make: Make, tiny_config: Path, tmp_path: Path
) -> None:
    """The last state of main is pinned for a merge, and pushed with it; it turns out to be broken once main grows."""
    merge = "paradigms={path-switching: {release_per_version: {v2: merge}}}"
    third = f"data.versions.2={{name: v3, text: [{tiny_config.parent / 'v3.jsonl'}], tokens: 1280}}"
    plan, there = make("run", merge), tmp_path / "there"
    with broken_updates(39):
        assert run(plan, "main")
    run_dir, early = plan.layout.run_dir, tmp_path / "early"
    shutil.copytree(run_dir, early)
    push_run(run_dir, str(there))
    grown = make("run", merge, third)
    with pytest.raises(NonFiniteLoss, match="state 40 may be broken"):
        run(grown, "main")
    assert run(make("run", merge, third), "main")
    assert ".doubtful-step-00000040" in aside(plan.layout.path("main"))
    push_run(run_dir, str(there))
    assert released(there) == released(run_dir) != released(early)
    assert {each.action for each in push_run(run_dir, str(there)).groups} == {"skip"}
    push_run(early, str(there))
    assert released(there) == released(run_dir), "an older copy replaces nothing"


def released(run_dir: Path) -> dict[str, bytes]:
    """Return the files of all pinned and merged states below a run directory."""
    files = [file for kind in ("branch_points/step-*", "merged/v*") for file in run_dir.glob(f"main/{kind}/*")]
    return {file.relative_to(run_dir).as_posix(): file.read_bytes() for file in files}


@pytest.mark.parametrize("heldout", [True, False])
def test_no_branch_takes_a_step_from_a_state_that_nothing_has_confirmed(
    make: Make, tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heldout: bool
) -> None:
    settings = ["evaluation.main_every_steps=null"]
    if not heldout:
        settings += ["data.heldout_share=0", f"data.root={tmp_path / 'shards'}"]
        build_data(load_config(tiny_config, settings))
    plan, whole = make("unconfirmed", *settings), make("whole", *settings)
    assert bool(plan.heldout) == heldout
    assert run(whole, *PATHS)
    computed: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(PlainEngine, "rates", {27: float("nan")})
        assert run(plan, "main"), "no step follows that would show it"
    what = "the held-out loss on v1 is nan" if heldout else "the loss of the state that it forks from is nan"
    with (
        before_steps(computed.append),
        pytest.raises(NonFiniteLoss, match=f"branch-v2: step 28: {what}.* may be broken"),
    ):
        run(plan, "branch-v2")
    assert computed == []
    check_forks(plan, unfinished_paths(plan))
    assert run(plan, *PATHS)
    assert_as_undisturbed(plan, whole)


@pytest.mark.parametrize("every", ["auto", "null"])
def test_a_probe_whose_data_fails_does_not_put_a_state_in_doubt_whose_loss_was_finite(make: Make, every: str) -> None:
    plan = make(
        "probe", f"evaluation.main_every_steps={every}", "probes={p: {at: {step: 28}, steps: 4, data: {v1: 1}}}"
    )
    assert run(plan, "main")
    for _ in range(2):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(PlainEngine, "above", staticmethod(lambda step: float("nan")))
            with pytest.raises(NonFiniteLoss, match="probe-p: step 28: the loss is nan"):
                run(plan, "probe-p")
    assert path_status(plan, plan.graph.by_name["main"]).state == "complete"
    attempts = total(read_ledger(plan.layout.path("main").ledger)).attempts
    assert run(plan, *PATHS, "probe-p")
    assert total(read_ledger(plan.layout.path("main").ledger)).attempts == attempts


def test_main_keeps_states_to_rewind_to_and_others_do_not(make: Make) -> None:
    plan = make("spread", "checkpoint.every_steps=2", "checkpoint.keep_last=1")
    main, branch = plan.layout.path("main"), plan.layout.path("branch-v1")
    assert run(plan, *PATHS)
    assert saved(main) == [16, 24, 26, 28]
    assert saved(branch) == [20], "its evaluation has confirmed it"
    pruning = prune_run(plan, dry_run=True)
    reasons = {each.step: each.reason for each in pruning.found if each.directory.parent == main.checkpoints}
    assert reasons[16] == "to rewind to"
    assert not any(each.goes for each in pruning.found)


def test_random_faults_end_as_undisturbed(make: Make, undisturbed: Plan) -> None:
    # Saves in the background would make it a matter of time from which state a killed run resumes.
    plan = make("random", "checkpoint.asynchronous=false")
    for number in range(4):
        taken = 0

        def die(step: int, last: int = 3 + 5 * number) -> None:
            nonlocal taken
            taken += 1
            if taken == last:
                raise KeyboardInterrupt

        with broken_updates(9 + 6 * number), before_steps(die), suppress(NonFiniteLoss, KeyboardInterrupt):
            run(plan, *PATHS)
    with pytest.raises(NonFiniteLoss, match="the state of main that it starts from may be broken"):
        run(plan, *PATHS)  # The last update of main was broken.
    assert run(plan, *PATHS)
    assert_as_undisturbed(plan, undisturbed)


def test_a_branch_that_waits_for_a_doubtful_fork_keeps_nobody_from_healing_it(make: Make) -> None:
    """`lrps run` checks forks before it starts anything, and the parent goes back only once it is started."""
    plan = make("waits")
    with broken_updates(7), pytest.raises(NonFiniteLoss):
        run(plan, "main")
    assert path_states("main", plan.layout).doubtful == {8}
    check_forks(plan, unfinished_paths(plan))
    assert run(plan, *PATHS)


def test_evaluating_all_saved_states_leaves_out_the_one_that_may_be_broken(make: Make) -> None:
    plan = make("evaluated", "evaluation.main_every_steps=null", "checkpoint.keep_last=9")
    with broken_updates(14), pytest.raises(NonFiniteLoss):
        run(plan, "main")
    assert run(plan, "main", train=False, saved_steps="all")
    found = raw_evaluations(read_ledger(plan.layout.path("main").ledger))
    assert sorted({step for step, _ in found}) == [5, 8, 10]
