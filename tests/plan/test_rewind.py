"""Taking a path back: what moves, what stays, what is refused, and one outcome whatever crashes in between."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lrps.base.errors import CheckpointError, ConfigError, LineageError
from lrps.base.files import atomic_write_json
from lrps.base.locks import path_lock
from lrps.ledger.metrics import read_metrics
from lrps.ledger.reader import read_ledger
from lrps.paths.amendments import Amendment
from lrps.plan import rewind as acts
from lrps.plan.origin import origin_of
from lrps.plan.plan import Plan
from lrps.plan.rewind import check_amendments, finish_rewinds, preview_rewind, rewind
from lrps.plan.status import check_run_dir, path_status, plan_status
from lrps.store.checkpoints import complete_checkpoints, find
from support.synthetic_run import attempt, plan_of, train

SKIPPING = Amendment(4, skip_from=6, skip=2, peak_lr=0.5, reason="spike")
FILES = ("path.json", "metrics.jsonl", "ledger/*.jsonl", "**/step-*/*")


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """Main to step 26, trained in two attempts, branch-v1 from step 4 and branch-v2 from 15; branch-v3 from 26 is not
    begun. Main has its pins only."""
    plan = plan_of(tmp_path, [10, 12, 11], {"path-switching": {"alpha": 0.6}})
    train(plan, [(8, "stop"), (99, "stop")], names=["main", "branch-v1", "branch-v2"])
    return plan


def again(plan: Plan) -> Plan:
    """Return the plan as another command would make it now."""
    return replace(plan)


def states(plan: Plan, amendment: int | None = None) -> list[int]:
    layout = plan.layout.path("main")
    layout = layout if amendment is None else layout.abandoned(amendment)
    places = (layout.checkpoints, layout.branch_points)
    return sorted({each.step for place in places for each in complete_checkpoints(place)})


def records(plan: Plan) -> list[tuple[str, int, Any]]:
    return [(r.kind, r.step, r.facts) for r in read_ledger(plan.layout.path("main").ledger)]


def outcome(plan: Plan) -> dict[str, Any]:
    """Return everything that a rewind leaves of main, without its time."""
    directory = plan.layout.path("main").directory
    found = {str(file.relative_to(directory)): file.read_bytes() for file in directory.rglob("step-*/*")}
    values = json.loads((directory / "path.json").read_text())
    for each in values["path"]["amendments"]:
        assert each.pop("when")
    metrics = (directory / "metrics.jsonl").read_bytes()
    return {**found, "path.json": values, "metrics": metrics, "ledger": records(plan)[-3:], "states": states(plan)}


def test_states_beyond_the_step_move_and_the_path_is_trained_again_from_it(plan: Plan) -> None:
    before = {name: (plan.layout.run_dir / name / "path.json").read_bytes() for name in ("branch-v1", "branch-v2")}
    pins = {step: find(plan.layout.path("main"), step).digest for step in (15, 26)}
    rewind(plan, "main", SKIPPING)
    assert (states(plan), states(plan, 1)) == ([4], [15, 26])
    assert [(kind, step) for kind, step, _ in records(plan)[-3:]] == [("start", 4), ("rewind", 4), ("stop", 4)]
    facts = records(plan)[-2][2]
    assert facts == {"to": 4, "amendment": 1, "reason": "spike", "abandoned": [[s, d] for s, d in pins.items()]}
    assert [metrics.step for metrics in read_metrics(plan.layout.path("main").metrics)] == [3, 4]
    status = path_status(again(plan), again(plan).graph.by_name["main"])
    assert (status.state, status.step, status.totals.useful_steps) == ("interrupted", 4, 4)
    assert status.totals.repeated_by_cause == {"rewind": 22}
    main = again(plan).graph.by_name["main"]
    assert list(main.skips) == [6, 7]
    assert (main.rates.lr_at(3), main.rates.lr_at(5)) == (1.0, 0.5)
    train(again(plan), names=["main", "branch-v3"])
    done = {each.path.name: each for each in plan_status(again(plan))}
    assert (done["main"].step, done["main"].totals.repeated_by_cause) == (26, {"rewind": 22})
    assert find(plan.layout.path("main"), 15).digest != pins[15]
    branch = json.loads((plan.layout.run_dir / "branch-v3" / "path.json").read_text())
    assert branch["path"]["parent_generation"] == 1
    assert {name: (plan.layout.run_dir / name / "path.json").read_bytes() for name in before} == before
    assert [name for name, each in done.items() if each.other_parent] == ["branch-v2"]
    assert done["branch-v2"].other_parent == "forked from main before its amendment 1"


@pytest.mark.parametrize("act", ["_record", "abandon", "MetricsWriter.rewind", "_book"])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("how", ["rewind", "run"])
def test_a_crash_before_or_after_any_act_leads_to_the_same_outcome(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: str, after: bool, how: str
) -> None:
    shutil.copytree(plan.layout.run_dir, tmp_path / "other" / plan.config.name)
    straight = Plan(plan.config.model_copy(update={"runs": tmp_path / "other"}), plan.increments, plan.manifests)
    rewind(straight, "main", SKIPPING)
    expected = outcome(straight)

    owner, _, name = act.rpartition(".")
    where = getattr(acts, owner) if owner else acts
    real = getattr(where, name)

    def crash(*arguments: Any) -> None:
        if after:
            real(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(where, name, crash)
        with pytest.raises(KeyboardInterrupt):
            rewind(plan, "main", SKIPPING)
    if how == "rewind" or (act == "_record" and not after):
        rewind(again(plan), "main", SKIPPING)
    else:
        if not (act == "_book" and after):
            with pytest.raises(LineageError, match="cut short"):
                check_run_dir(again(plan), again(plan).graph.paths)
        assert path_status(again(plan), again(plan).graph.by_name["main"]).step == 4
        finish_rewinds(again(plan))
    assert outcome(plan) == expected
    check_run_dir(again(plan), again(plan).graph.paths)


def test_a_crash_between_two_states_loses_none(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    real, moved = os.rename, list[str]()

    def rename(source: str, target: str) -> None:
        if "abandoned" in str(target) and len(moved) == 1:
            raise KeyboardInterrupt
        real(source, target)
        moved.append(str(target)) if "abandoned" in str(target) else None

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", rename)
        with pytest.raises(KeyboardInterrupt):
            rewind(plan, "main", SKIPPING)
    assert (states(plan), states(plan, 1)) != ([4], [15, 26])
    rewind(again(plan), "main", SKIPPING)
    assert (states(plan), states(plan, 1)) == ([4], [15, 26])
    assert [len(facts.get("abandoned", ())) for _, _, facts in records(plan)[-2:-1]] == [2]


def test_the_same_rewind_twice_is_one_and_after_more_training_it_is_another(plan: Plan) -> None:
    rewind(plan, "main", SKIPPING)
    before = outcome(plan)
    assert rewind(again(plan), "main", replace(SKIPPING, reason="other words")).done
    assert outcome(plan) == before
    train(again(plan), names=["main"])
    assert not rewind(again(plan), "main", SKIPPING).done
    assert (states(plan), states(plan, 2)) == ([4], [15, 26])
    assert len(again(plan).graph.by_name["main"].amendments) == 2
    assert path_status(again(plan), again(plan).graph.by_name["main"]).totals.repeated_by_cause == {"rewind": 44}


def test_a_preview_changes_nothing(plan: Plan) -> None:
    before = {file: file.read_bytes() for file in plan.layout.run_dir.rglob("*") if file.is_file()}
    found = preview_rewind(plan, "main", SKIPPING)
    assert {file: file.read_bytes() for file in plan.layout.run_dir.rglob("*") if file.is_file()} == before
    assert ([each.step for each in found.states], found.abandoned_steps) == ([15, 26], 22)
    assert {each.path.name: each.begun for each in found.affected} == {"branch-v2": True, "branch-v3": False}
    assert found.abandoned_seconds == pytest.approx(22 * 0.01 * 2)


@pytest.mark.parametrize(
    ("amendment", "told"),
    [
        (Amendment(9), r"no saved state of step 9; the nearest saved ones are 4, 15, 26"),
        (Amendment(26), "change nothing"),
        (Amendment(4, peak_lr=0.0), "--peak-lr 0.0: must be a number above 0"),
        (Amendment(4, peak_lr=float("nan")), "--peak-lr nan"),
        (Amendment(4, clip_grad_norm=-1.0), "--clip-grad-norm -1.0"),
        (Amendment(4, for_steps=3), "give both"),
        (Amendment(4, for_steps=0, peak_lr=0.1), "at least 1"),
        (Amendment(4, skip_from=6), "--skip-steps"),
        (Amendment(4, skip=-1), "--skip-steps"),
        (Amendment(4, skip_from=25, skip=2), "steps 25 to 26 cannot be skipped"),
        (Amendment(4, skip_from=3, skip=2), "steps 3 to 4 cannot be skipped"),
    ],
)
def test_nonsense_is_refused_and_loses_nothing(plan: Plan, amendment: Amendment, told: str) -> None:
    with pytest.raises((ConfigError, CheckpointError), match=told):
        rewind(plan, "main", amendment)
    assert states(plan) == [4, 15, 26]


def test_a_damaged_state_is_no_step_to_go_back_to(plan: Plan) -> None:
    pin = find(plan.layout.path("main"), 4).directory / "state.bin"
    pin.chmod(0o644)
    pin.write_bytes(b"y")
    with pytest.raises(CheckpointError, match="state of step 4 is damaged"):
        rewind(plan, "main", SKIPPING)


def test_a_path_that_is_being_trained_is_refused(plan: Plan) -> None:
    with (
        path_lock(plan.layout.path("main").directory),
        pytest.raises(LineageError, match="is being trained; wait for it, or stop it"),
    ):
        rewind(plan, "main", SKIPPING)
    assert states(plan) == [4, 15, 26]


def test_a_path_that_the_plan_lacks_or_that_has_no_state_is_refused(plan: Plan) -> None:
    with pytest.raises(ConfigError, match="did you mean"):
        rewind(plan, "mian", SKIPPING)
    with pytest.raises(CheckpointError, match="no saved state of step 26; it has no other saved state"):
        rewind(plan, "branch-v3", Amendment(26))


def test_a_plan_from_before_a_rewind_is_refused_by_training(plan: Plan) -> None:
    old = again(plan)
    branch = old.graph.by_name["branch-v3"]
    check_amendments(old, branch)
    rewind(plan, "main", SKIPPING)
    with pytest.raises(LineageError, match="main was taken back"):
        check_amendments(old, branch)
    check_amendments(again(plan), again(plan).graph.by_name["branch-v3"])


def test_going_further_back_gives_up_the_amendments_after_it(plan: Plan) -> None:
    rewind(plan, "main", Amendment(15, skip=2))
    main = again(plan).graph.by_name["main"]
    attempt(again(plan), main, origin_of(main, plan.layout), 4, "stop")
    rewind(again(plan), "main", Amendment(4, peak_lr=0.5))
    main = again(plan).graph.by_name["main"]
    assert not main.skips
    assert (states(plan), states(plan, 1), states(plan, 2)) == ([4], [26], [15, 16, 19])


def test_an_unfinished_branch_of_an_older_history_goes_on(plan: Plan) -> None:
    branch = plan.graph.by_name["branch-v3"]
    plan.layout.path("branch-v3").directory.mkdir()
    atomic_write_json(plan.layout.path("branch-v3").path_json, plan.identity(branch))
    attempt(plan, branch, origin_of(branch, plan.layout), 2, "stop")
    rewind(plan, "main", SKIPPING)
    new = again(plan)
    origin = origin_of(new.graph.by_name["branch-v3"], new.layout)
    assert (origin.verb, origin.step) == ("resume", 28)
    assert new.graph.by_name["branch-v3"].lr_start == 1.0
