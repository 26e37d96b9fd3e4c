"""A fork whose parent has another state now: found by status, report and model card."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lrps.costs.comparison import make_comparison
from lrps.costs.status_document import status_document
from lrps.ledger.reader import read_ledger
from lrps.ledger.records import Record
from lrps.plan.follow import Follower
from lrps.plan.parent_state import forked_state
from lrps.plan.plan import Plan
from lrps.plan.status import plan_status
from lrps.report.comparison_text import comparison_markdown
from lrps.report.page import render_page
from lrps.report.status_lines import warning_lines
from lrps.store.checkpoints import begin, find, fsync_and_hash, publish, remove
from support.synthetic_run import plan_of, rewrite, train

OTHER = "branch-v2 was forked from another state of main than the one that main has at step 15 now"


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """A complete run of path switching; branch-v1 forks from main at step 6, branch-v2 at step 15."""
    plan = plan_of(tmp_path, [10, 12], {"path-switching": {"alpha": 0.6}})
    train(plan)
    return plan


def others(plan: Plan) -> dict[str, str]:
    return {status.path.name: status.other_parent for status in plan_status(plan) if status.other_parent}


def retrain(plan: Plan) -> None:
    """Replace the pin of main at step 15, as if main had been rewound and trained again."""
    layout = plan.layout.path("main")
    identity = find(layout, 15).identity
    temporary = begin(layout.branch_points, 15)
    (temporary / "state.bin").write_bytes(b"other")
    publish(temporary, 15, {"state.bin": fsync_and_hash(temporary / "state.bin")}, identity)


def test_a_parent_that_was_trained_again_is_found(plan: Plan) -> None:
    follower = Follower(plan)
    assert {status.other_parent for status in follower.look()} == {None}
    assert make_comparison(plan).other_parents == {}
    retrain(plan)
    statuses = plan_status(plan)
    assert {status.path.name: status.other_parent for status in follower.look()} == {
        status.path.name: status.other_parent for status in statuses
    }, "the follower sees a change of the parent alone"
    (line,) = [line for line in warning_lines(status_document(plan, statuses)) if "branch-v2" in line]
    assert line.replace(": forked", " was forked").startswith(f"warning: {OTHER}")
    comparison = make_comparison(plan)
    assert list(comparison.other_parents) == ["branch-v2"]
    assert f"Warning: {OTHER}." in comparison_markdown(comparison)
    assert f"Warning: {OTHER}." in render_page(comparison)


def without_digest(_: int, record: Record) -> Record:
    if record.facts.get("parent"):
        record.facts["parent"].pop("digest", None)
    return record


def without_checkpoint(plan: Plan) -> None:
    for place in ("branch_points", "checkpoints"):
        for directory in (plan.layout.path("main").directory / place).glob("step-00000015"):
            remove(directory)


def of_an_earlier_version(plan: Plan) -> None:
    rewrite(plan.layout.path("branch-v2").ledger, without_digest)


@pytest.mark.parametrize("change", [without_checkpoint, of_an_earlier_version])
def test_what_is_not_known_is_no_warning(plan: Plan, change: Callable[[Plan], None]) -> None:
    retrain(plan)
    assert list(others(plan)) == ["branch-v2"]
    change(plan)
    assert others(plan) == {}


def test_the_newest_fork_counts(plan: Plan) -> None:
    ledger = plan.layout.path("branch-v2").ledger
    records = list(read_ledger(ledger))
    assert forked_state(records) == find(plan.layout.path("main"), 15).digest
    start = records[0]
    again = start._replace(facts={**start.facts, "parent": {"path": "main", "step": 15, "digest": "again"}})
    assert forked_state([*records, again]) == "again"
    assert forked_state([*records, start._replace(facts={**start.facts, "parent": None})]) != "again"
