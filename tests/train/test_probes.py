"""Probes that are really trained: in a begun run, resumed, evaluated on every held-out set, audited and compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lrps.audit.run import audit_run
from lrps.base.document import to_json
from lrps.base.errors import LineageError
from lrps.config.loader import load_config
from lrps.costs.comparison import make_comparison
from lrps.costs.planned.plan_document import plan_document, write_plan_json
from lrps.costs.recorded_plan import recorded_plan
from lrps.launch.jobs import unfinished_paths
from lrps.launch.preflight import check_forks
from lrps.ledger.reader import EvaluationKey
from lrps.plan.plan import Plan, make_plan
from lrps.plan.prune import prune_run
from lrps.plan.status import path_status, plan_status
from lrps.report.tables.probe_table import probe_records, probe_table
from lrps.store.checkpoints import complete_checkpoints
from support.plain_engine import run

PROBES = {"p": {"at": "v2", "steps": 6, "data": {"v2": 0.7, "v3": 0.3}}}


def plan_of(config: Path, root: Path, probes: dict[str, Any] | None, *settings: str) -> Plan:
    """Return the tiny plan, whose version 3 is a candidate set here; without it if `probes` is None."""
    more = [] if probes is None else ["data.candidates=[{name: v3, tokens: 1280}]", f"probes={json.dumps(probes)}"]
    return make_plan(
        load_config(config, [f"runs={root / 'runs'}", 'paradigms={"path-switching": {}}', *more, *settings])
    )


def files(plan: Plan, *names: str) -> dict[str, bytes]:
    """Content of all files of paths but for locks."""
    found = (file for name in names for file in sorted(plan.layout.path(name).directory.rglob("*")) if file.is_file())
    return {str(file.relative_to(plan.layout.run_dir)): file.read_bytes() for file in found if file.suffix != ".lock"}


def weights(plan: Plan, name: str) -> list[bytes]:
    last = complete_checkpoints(plan.layout.path(name).checkpoints)[-1]
    return [file.read_bytes() for file in sorted(last.directory.glob("*.safetensors"))]


@pytest.fixture(scope="module")
def finished(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, dict[str, bytes]]:
    """A finished run to which a probe was added and trained, interrupted once; and the files of its paths before."""
    root = tmp_path_factory.mktemp("probes")
    plain = plan_of(tiny_config, root, None)
    assert run(plain, *plain.graph.by_name)
    before = files(plain, *plain.graph.by_name)
    plan = plan_of(tiny_config, root, PROBES)
    assert [status.path.name for status in unfinished_paths(plan)] == ["probe-control-28-6-linear", "probe-p"]
    check_forks(plan, plan_status(plan))
    assert not run(plan, "probe-p", stop_after=3)
    assert run(plan, "probe-control-28-6-linear", "probe-p")
    return plan, before


def test_a_probe_in_a_begun_run_changes_no_other_path(finished: tuple[Plan, dict[str, bytes]]) -> None:
    plan, before = finished
    assert files(plan, "main", "branch-v1", "branch-v2") == before
    assert {status.state for status in plan_status(plan)} == {"complete"}


def test_a_probe_is_evaluated_on_every_held_out_set(finished: tuple[Plan, dict[str, bytes]]) -> None:
    plan, _ = finished
    for name in ("probe-p", "probe-control-28-6-linear"):
        evaluated = sorted(path_status(plan, plan.graph.by_name[name]).evaluations)
        assert evaluated == [EvaluationKey(34, version) for version in ("v1", "v2", "v3")]
    evaluated = sorted(path_status(plan, plan.graph.by_name["branch-v2"]).evaluations)
    assert evaluated == [EvaluationKey(40, version) for version in ("v1", "v2")]


def test_a_probe_that_was_interrupted_is_that_of_a_straight_run(
    finished: tuple[Plan, dict[str, bytes]], tiny_config: Path, tmp_path: Path
) -> None:
    plan, _ = finished
    straight = plan_of(tiny_config, tmp_path, PROBES)
    assert run(straight, "main", "probe-p")
    assert weights(straight, "probe-p") == weights(plan, "probe-p")
    assert weights(plan, "probe-control-28-6-linear") != weights(plan, "probe-p")


def test_the_audit_knows_the_rows_of_a_probe(finished: tuple[Plan, dict[str, bytes]]) -> None:
    audit = audit_run(finished[0].layout.run_dir)
    assert audit.differences == ()
    lineage = next(each for each in audit.lineages if each.path == "probe-p")
    assert {use.source: use.rows for use in lineage.uses} == {"v1": 80, "v2": 32 + 17, "v3": 7}


def test_the_table_says_what_the_data_is_worth(finished: tuple[Plan, dict[str, bytes]]) -> None:
    plan, _ = finished
    comparison = make_comparison(plan)
    assert comparison.probe_results is not None
    (result,) = comparison.probe_results
    names = (result.path, result.control)
    ends = [path_status(plan, plan.graph.by_name[name]).evaluations for name in names]
    for heldout, loss in result.heldout.items():
        own, control = (found[EvaluationKey(34, heldout)].loss for found in ends)
        assert (loss.loss, loss.control_loss, loss.difference) == (own, control, own - control)
        rows = [np.fromfile(plan.layout.path(name).row_losses(34, heldout), "<f4") for name in names]
        pairs = rows[0].astype(float) - rows[1]
        assert loss.difference == pytest.approx(pairs.mean(), abs=1e-6)
        assert loss.standard_error == pytest.approx(pairs.std(ddof=1) / len(pairs) ** 0.5)
    (row,) = probe_table(comparison).rows
    assert row[:2] == ("p", "v2 70 % + v3 30 %")
    assert row[5].startswith(f"{result.heldout['v1'].difference:+.4f} ± 0.0")
    assert len(probe_records(comparison).rows) == 3
    assert result.measured is not None
    assert result.measured.total_steps == 6
    ours = comparison.paradigms["path-switching"]
    assert ours.measured is not None
    assert comparison.graph.measured is not None
    assert comparison.graph.measured.total_steps == ours.measured.total_steps + 12, "in no paradigm, but in the bill"


def test_a_state_that_a_probe_needs_is_not_pruned(finished: tuple[Plan, dict[str, bytes]]) -> None:
    found = prune_run(finished[0], dry_run=True).found
    reasons = {each.path: each.reason for each in found if each.step == 34}
    assert reasons == dict.fromkeys(["probe-control-28-6-linear", "probe-p"], "result of probe p")
    assert not any(each.goes for each in found)


def test_a_held_out_set_that_is_new_is_missing_for_the_probe_only(
    finished: tuple[Plan, dict[str, bytes]], tiny_config: Path
) -> None:
    plan, _ = finished
    fewer = plan_of(tiny_config, plan.config.runs.parent, PROBES, "evaluation.max_rows=4")
    states = {status.path.name: status.state for status in plan_status(fewer)}
    assert states["probe-p"] == "trained"
    grown = plan_of(tiny_config, plan.config.runs.parent, PROBES)
    assert states.keys() == grown.graph.by_name.keys()


def test_a_copied_run_knows_its_probes(finished: tuple[Plan, dict[str, bytes]]) -> None:
    plan, _ = finished
    write_plan_json(plan)
    assert recorded_plan(plan.layout.run_dir).graph == plan.graph


def test_a_plan_without_probes_says_nothing_of_them(tiny_config: Path, tmp_path: Path) -> None:
    plain, more = plan_of(tiny_config, tmp_path, None), plan_of(tiny_config, tmp_path, PROBES)
    document, other = to_json(plan_document(plain)), to_json(plan_document(more))
    assert other.keys() - document.keys() == {"candidates", "probes"}
    assert document["paradigms"] == other["paradigms"]
    assert plain.training_sha256 == more.training_sha256
    for path in plain.graph.paths:
        assert plain.identity(path) == more.identity(path)
    probes = other["probes"]
    assert (probes["total_steps"], probes["steps_to_do"]) == (12, 12)
    assert other["to_do"]["total_steps"] == document["to_do"]["total_steps"] + 12


def test_a_step_that_was_passed_without_a_state_names_the_nearest(
    finished: tuple[Plan, dict[str, bytes]], tiny_config: Path
) -> None:
    plan, _ = finished
    late = plan_of(tiny_config, plan.config.runs.parent, {"late": {**PROBES["p"], "at": {"step": 20}}})
    message = (
        r"(?s)forks from main at step 20: .*choose `at: \{step: 15\}`, the nearest step that is saved, or one beyond"
    )
    with pytest.raises(LineageError, match=message):
        check_forks(late, plan_status(late))
    saved = plan_of(tiny_config, plan.config.runs.parent, {"early": {**PROBES["p"], "at": {"step": 8}, "steps": 2}})
    check_forks(saved, plan_status(saved))
    assert run(saved, "probe-early")
