"""The audit of runs whose paths were taken back: every history is proved by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrps.audit.run import audit_run
from lrps.paths.amendments import Amendment
from lrps.plan.origin import origin_of
from lrps.plan.plan import Plan
from lrps.plan.rewind import _record, rewind
from lrps.report.audit_text import audit_document, lineage_table
from lrps.store.checkpoints import find, remove
from support.synthetic_run import attempt, edit, few, forge, plan_of, rewrite, train

SWITCHING = {"path-switching": {"alpha": 0.6, "mix": {"new": 0.7, "replay": 0.3}}}


def rewound(runs: Path) -> Plan:
    """Return a run of main to 26, taken back from 26 to 4 with branch-v1 (from 4) and branch-v2 (from 15) begun before,
    and branch-v3 (from 26) after."""
    plan = plan_of(runs, [10, 12, 11], SWITCHING)
    train(plan, [(8, "stop")], names=["main", "branch-v1", "branch-v2"])
    rewind(plan, "main", Amendment(4, peak_lr=0.25))
    train(replace(plan), [(6, "kill")], names=["main", "branch-v3"])
    return replace(plan)


def test_every_history_is_proved_and_named(tmp_path: Path) -> None:
    plan = rewound(tmp_path)
    audit = audit_run(plan.layout.run_dir)
    assert audit.ok, audit.differences
    assert audit.without_digest == 0
    by_name = {lineage.path: lineage for lineage in audit.lineages}
    assert [leg.before_amendment for leg in by_name["branch-v2"].legs] == [1, None]
    assert [leg.before_amendment for leg in by_name["branch-v3"].legs] == [None, None]
    assert [leg.before_amendment for leg in by_name["branch-v1"].legs] == [None, None]
    assert "(main to step 15 before its amendment 1, branch-v2 to step 22)" in lineage_table(by_name["branch-v2"]).title
    legs = {lineage["path"]: lineage["legs"] for lineage in audit_document(audit)["lineages"]}
    assert legs["branch-v2"][0] == {"path": "main", "start_step": 0, "stop_step": 15, "before_amendment": 1}
    assert audit.spare_steps == 22 + 1, (
        "abandoned, and lost by the kill after the save of step 8, as far as it is recorded"
    )


def pin_swapped(plan: Plan) -> str:
    """The pin that branch-v3 forked from is another state."""
    forge(find(plan.layout.path("main"), 26), lambda identity: identity.update(plan="other"))
    return "branch-v3 at step 26: the path was forked from another state of main"


def old_pin_is_another(plan: Plan) -> str:
    """The ledger's digest of the state that branch-v2 forked from, which is abandoned, is another one."""

    def change(number: int, record: Any) -> Any:
        if record.kind == "rewind":
            record.facts["abandoned"][0][1] = "0" * 64
        return record

    rewrite(plan.layout.path("main").ledger, change)
    return "main at step 15: the abandoned state is not the one that the ledger has a record of"


def history_denied(plan: Plan) -> str:
    """branch-v2 claims the new history."""
    edit(plan.layout.path("branch-v2").path_json, lambda values: values["path"].update(parent_generation=1))
    return "branch-v2 at step 15: the path was forked from another state of main"


def amendment_removed(plan: Plan) -> str:
    edit(plan.layout.path("main").path_json, lambda values: values["path"].pop("amendments"))
    return "the ledger says that the path was taken back, and path.json has another amendment or none"


def rate_changed(plan: Plan) -> str:
    edit(plan.layout.path("main").path_json, lambda values: values["path"]["amendments"][0].update(peak_lr=0.5))
    return "trained up to this step with other values than path.json has: the amendments"


def rewind_cut_short(plan: Plan) -> str:
    _record(plan.layout.path("main"), Amendment(15))
    return "main at step 15: its rewind to this step, amendment 2, was cut short: `lrps run` completes it"


FAULTS = (pin_swapped, old_pin_is_another, history_denied, amendment_removed, rate_changed, rewind_cut_short)


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_not_as_recorded_is_found(tmp_path: Path, fault: Callable[[Plan], str]) -> None:
    plan = rewound(tmp_path)
    told = fault(plan)
    found = [str(each) for each in audit_run(plan.layout.run_dir).differences]
    assert any(told in each for each in found), found


def test_a_state_of_the_older_history_vouches_for_none_of_the_new_one(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, [10, 12, 11], SWITCHING)
    train(plan, names=["main"])
    rewind(plan, "main", Amendment(4, peak_lr=0.25))
    old = plan.layout.path("main").abandoned(1).branch_points / "step-00000015"
    old.rename(plan.layout.path("main").branch_points / old.name)
    found = [str(each) for each in audit_run(plan.layout.run_dir).differences]
    assert any("main at step 15: the ledger has no record of this checkpoint" in each for each in found), found
    remove(plan.layout.path("main").branch_points / old.name)


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.integers(0, 9), st.sampled_from(["stop", "kill", "failure", "published", "torn"])),
        st.sampled_from([0.5, 0.25, None]),
    ),
    min_size=1,
    max_size=6,
)
"""Attempts at main (steps, ending), and rewinds of it with a new peak rate or with none."""


@settings(few, max_examples=5)
@given(EVENTS, st.integers(0, 2), st.data())
def test_a_run_with_rewinds_and_interruptions_is_proved(
    tmp_path_factory: pytest.TempPathFactory, events: list[Any], lag: int, data: st.DataObject
) -> None:
    prove(tmp_path_factory.mktemp("run"), events, lag, data)


@pytest.mark.long
@settings(few, max_examples=150)
@given(EVENTS, st.integers(0, 2), st.data())
def test_a_run_with_any_rewinds_and_interruptions_is_proved(
    tmp_path_factory: pytest.TempPathFactory, events: list[Any], lag: int, data: st.DataObject
) -> None:
    prove(tmp_path_factory.mktemp("run"), events, lag, data)


def prove(runs: Path, events: list[Any], lag: int, data: st.DataObject) -> None:
    """Main and its branches by turns: attempts of all kinds, and rewinds to any state that is there."""
    plan = plan_of(runs, [6, 7, 6], SWITCHING)
    train(plan, [(3, "stop"), (99, "stop")], names=["main"], lag=lag)
    for event in events:
        plan = replace(plan)
        main = plan.graph.by_name["main"]
        if isinstance(event, tuple):
            origin = origin_of(main, plan.layout)
            if origin.step < main.stop:
                attempt(plan, main, origin, *event, lag)
            continue
        layout = plan.layout.path("main")
        saved = sorted({int(each.name[5:]) for each in layout.directory.glob("[cb]*/step-*")})
        at = data.draw(st.sampled_from(saved))
        if at < saved[-1] or event is not None:
            rewind(plan, "main", Amendment(at, peak_lr=event))
        name = data.draw(st.sampled_from(["branch-v1", "branch-v2", "branch-v3"]))
        child = replace(plan).graph.by_name[name]
        if find_or_none(replace(plan), child.start):
            train(replace(plan), names=[name], lag=lag)
    train(replace(plan), lag=lag)
    audit = audit_run(plan.layout.run_dir)
    assert audit.ok, audit.differences
    assert audit.without_digest == 0


def find_or_none(plan: Plan, step: int) -> bool:
    return (plan.layout.path("main").branch_points / f"step-{step:08d}").is_dir()
