"""Steps that pass without an update, left out by their path: training, checkpoints, ledger, metrics and audit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lrps.audit.run import audit_run
from lrps.base.step_set import StepSet
from lrps.config.loader import load_config
from lrps.costs.comparison import make_comparison
from lrps.costs.status_document import status_document
from lrps.ledger.check import check_run
from lrps.ledger.metrics import read_metrics
from lrps.ledger.metrics_check import metrics_faults
from lrps.ledger.reader import read_ledger
from lrps.ledger.totals import total
from lrps.plan.plan import Plan, make_plan
from lrps.plan.status import plan_status
from lrps.report.audit_text import print_audit
from lrps.report.ledger_text import steps_table
from lrps.report.status_lines import warning_lines
from lrps.report.summary import noticed_steps
from lrps.store.checkpoints import complete_checkpoints, find
from lrps.store.identity import SKIPPED
from lrps.train import job
from support.plain_engine import before_steps, run
from support.synthetic_run import forge, rewrite
from support.values_digests import values_digests

LEFT_OUT = StepSet.of([(0, 0), (4, 5), (7, 7), (12, 16), (26, 27)])
"""Of main, which has 28 steps, saves after every fifth and forks at 8: the first and the last steps, beside saves and
the fork, and some in a row across a save."""
PATHS = ("main", "branch-v1", "branch-v2")


@pytest.fixture(autouse=True)
def left_out(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the main path leave out these steps."""
    start_path = job.start_path

    def start(plan: Plan, path: Any, *arguments: Any, **more: Any) -> Any:
        found = start_path(plan, path, *arguments, **more)
        return replace(found, skips=LEFT_OUT) if path.name == "main" else found

    monkeypatch.setattr(job, "start_path", start)
    return


def planned(tiny_config: Path, runs: Path, *settings: str) -> Plan:
    # Which states are kept to rewind to depends on the number of saves, and a stop is one more.
    always = [f"runs={runs}", "track.log_every_steps=3", "checkpoint.keep_for_rewind=false"]
    return make_plan(load_config(tiny_config, [*always, *settings]))


def states(plan: Plan) -> dict[tuple[str, int], Any]:
    """SHA-256 of the weights and moments of every saved state, and the steps that were skipped before it."""
    layouts = {name: plan.layout.path(name) for name in PATHS}
    places = [(name, place) for name, each in layouts.items() for place in (each.branch_points, each.checkpoints)]
    return {
        (name, saved.step): (
            values_digests(saved),
            saved.identity.get(SKIPPED),
        )
        for name, place in places
        for saved in complete_checkpoints(place)
    }


def test_left_out_steps_are_not_computed_and_nothing_moves(tiny_config: Path, tmp_path: Path) -> None:
    plan, computed = planned(tiny_config, tmp_path), list[int]()
    with before_steps(computed.append):
        assert run(plan, "main")
    assert computed == [step for step in range(28) if step not in LEFT_OUT]
    layout = plan.layout.path("main")
    assert find(layout, 28).identity["tokens"] == 28 * 64
    skips = [record for record in read_ledger(layout.ledger) if record.kind == "skip"]
    facts = [(skip.facts["first"], skip.facts["last"], skip.facts["cause"], skip.step) for skip in skips]
    expected = [(0, 0), (4, 4), (5, 5), (7, 7), (12, 14), (15, 16), (26, 26), (27, 27)]
    assert StepSet.of([(first, last) for first, last, *_ in facts]) == LEFT_OUT
    assert [(first, last) for first, last, *_ in facts if last < 8] == expected[:4], "a save ends a range"
    assert all(cause == "amendment" and step == last + 1 for _, last, cause, step in facts)
    assert all(skip.facts["loss"] is skip.facts["norm"] is skip.facts["z"] is None for skip in skips)


def test_ledger_and_metrics_tell_them_from_training(tiny_config: Path, tmp_path: Path) -> None:
    plan = planned(tiny_config, tmp_path)
    assert run(plan, *PATHS)
    layout = plan.layout.path("main")
    records = list(read_ledger(layout.ledger))
    totals = total(records)
    assert (totals.skipped, totals.useful_steps, totals.repeated_steps) == (LEFT_OUT, 28, 0)
    assert totals.unique_tokens == (28 - len(LEFT_OUT)) * 64
    assert sum(totals.uses.values()) == pytest.approx(totals.spent.allocated_seconds)
    per_step = plan.costs.flops_per_token * 64 if plan.costs.flops_per_token else 0
    assert totals.spent.flops == (28 - len(LEFT_OUT)) * per_step
    steps = [each.step for each in read_metrics(layout.metrics)]
    assert steps == sorted(steps)
    assert not {1, 17, 28} & set(steps), "a mean over no step is none"
    assert all(record.facts.get("loss") != 0 for record in records if record.kind == "heartbeat")
    assert all(check.fault is None for check in check_run(plan.layout.run_dir))
    assert not metrics_faults(plan.layout.run_dir)


@pytest.mark.parametrize("stops", [(1, 3, 5), (4, 4, 4), (2, 8, 1, 6)])
def test_resumed_is_straight(tiny_config: Path, tmp_path: Path, stops: tuple[int, ...]) -> None:
    straight, resumed = (planned(tiny_config, tmp_path / name) for name in ("straight", "resumed"))
    assert run(straight, *PATHS)
    for stop in stops:
        assert not run(resumed, "main", stop_after=stop)
    assert run(resumed, *PATHS)
    assert {key: states(resumed)[key] for key in states(straight)} == states(straight)
    assert states(straight)["branch-v1", 20][1] == [[0, 0], [4, 5], [7, 7]], "a fork inherits what its parent skipped"
    one, other = (audit_run(plan.layout.run_dir) for plan in (straight, resumed))
    assert one.ok, one.differences
    assert other.ok, other.differences
    assert [lineage.uses for lineage in one.lineages] == [lineage.uses for lineage in other.lineages]


def test_the_audit_counts_rows_that_were_read_and_not_trained_on(tiny_config: Path, tmp_path: Path) -> None:
    plan = planned(tiny_config, tmp_path)
    assert run(plan, *PATHS)
    audit = audit_run(plan.layout.run_dir, Path(plan.config.data.root))
    assert audit.ok, audit.differences
    assert audit.skipped_steps == len(LEFT_OUT)
    rows = {lineage.path: [use.skipped_rows for use in lineage.uses] for lineage in audit.lineages}
    assert rows == {"main": [4 * 9, 4 * 2], "branch-v1": [4 * 4], "branch-v2": [4 * 9, 4 * 2]}


def test_a_checkpoint_or_a_ledger_that_says_otherwise_is_found(tiny_config: Path, tmp_path: Path) -> None:
    plan = planned(tiny_config, tmp_path)
    assert run(plan, *PATHS)
    run_dir, layout = plan.layout.run_dir, plan.layout.path("branch-v1")
    expected, found = [[0, 0], [4, 5], [7, 7]], [[0, 0], [4, 5]]
    forge(find(layout, 20), lambda identity: identity.update({SKIPPED: found}))
    differences = [each for each in audit_run(run_dir).differences if "passed without an update" in each.what]
    assert [(each.step, each.expected, each.found) for each in differences] == [(20, expected, found)]
    forge(find(layout, 20), lambda identity: identity.update({SKIPPED: expected}))
    rewrite(plan.layout.path("main").ledger, lambda _, record: None if record.facts.get("first") == 7 else record)
    wrong = {each.path for each in audit_run(run_dir).differences if "passed without an update" in each.what}
    assert wrong == {"main", "branch-v1", "branch-v2"}, "all states that contain the step"


def test_where_people_look(tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = planned(tiny_config, tmp_path)
    assert run(plan, "main")
    told = "main: 11 steps passed without an update"
    assert f"note: {told}" in warning_lines(status_document(plan, plan_status(plan)))
    comparison = make_comparison(plan)
    assert f"Note: {told}." in noticed_steps(comparison)
    main = next(path.measured for p in comparison.paradigms.values() for path in p.paths if path.plan.name == "main")
    of_kinds = main.unique_tokens + main.replayed_tokens + main.rehearsal_tokens + main.repeated_tokens
    assert of_kinds + main.skipped_tokens == main.spent_tokens
    totals = {"main": total(read_ledger(plan.layout.path("main").ledger))}
    assert [column.header for column in steps_table(tmp_path, totals).columns][5:7] == ["skipped", "spikes"]
    print_audit(audit_run(plan.layout.run_dir))
    assert "11 steps passed without an update: read, not trained on" in " ".join(capsys.readouterr().out.split())
