"""Scoring released models: only what is missing, each result once, and nothing of another model or task."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from lrps.base.errors import CheckpointError, DataError
from lrps.config.loader import load_config
from lrps.costs.comparison import make_comparison
from lrps.evaluation import score
from lrps.export.release import ExportFormat, export_state
from lrps.ledger.check import check_run
from lrps.ledger.writer import book_event
from lrps.plan.plan import Plan, make_plan
from lrps.plan.released_state import checkpoint_digest
from lrps.plan.scores import KIND, MetricResult, Score, newest_scores, run_scores
from lrps.plan.status import plan_status
from lrps.report.tables.probe_table import probe_score_records, probe_table
from lrps.report.tables.task_table import scored
from support.released_run import train

pytest.importorskip("rouge_score", reason="rouge-score is not installed: pip install 'lrps[eval]'")


def run(plan: Plan, paradigms: Sequence[str] = ()) -> list[str]:
    """Score what is missing; the lines that it tells."""
    told: list[str] = []
    digests = score.task_digests(plan.config.evaluation)
    states, _ = score.released_states(plan, paradigms)
    score.score_models(plan, score.scoring_jobs(plan, states, digests), digests, told.append)
    return told


def test_one_result_a_model_and_task_and_a_second_call_does_nothing(with_tasks: Callable[..., Any]) -> None:
    plan = with_tasks().plan
    before = plan_status(plan)
    told = run(plan)
    assert len(told) == 4 * 2
    assert told[0].startswith("[1/4] branch-v1 (v1) on pairs-v1: rouge_l ")
    found = run_scores(plan)
    assert [(s.path, s.task) for s in found] == [
        (path, task) for path in ("branch-v1", "cpt-v1", "branch-v2", "cpt-v2") for task in ("pairs-v1", "pairs-v2")
    ]
    assert {s.examples for s in found} == {3}
    assert all(0 <= s.results["rouge_l"].value <= 100 for s in found)
    assert run(plan) == []
    assert len(run_scores(plan)) == 8
    assert [check.fault for check in check_run(plan.layout.run_dir) if check.fault] == []
    assert plan_status(plan) == before, "what paths cost is as it was"


def test_stopped_half_way_it_goes_on_with_what_is_missing(
    with_tasks: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = with_tasks().plan
    kept = score.score_answers

    def stopped(*arguments: Any) -> Any:
        if len(run_scores(plan)) == 3:
            raise KeyboardInterrupt
        return kept(*arguments)

    monkeypatch.setattr(score, "score_answers", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(plan)
    monkeypatch.setattr(score, "score_answers", kept)
    told = run(plan)
    assert [line.split(":")[0] for line in told[:2]] == [
        "[1/3] cpt-v1 (v1) on pairs-v2",
        "[2/3] branch-v2 (v2) on pairs-v1",
    ]
    assert len(told) == 5


def test_a_changed_task_and_a_changed_model_are_scored_again(with_tasks: Callable[..., Any], tmp_path: Path) -> None:
    made = with_tasks()
    run(made.plan, ["cpt"])
    assert {s.path for s in run_scores(made.plan)} == {"cpt-v1", "cpt-v2"}
    task = made.plan.config.evaluation.tasks[0]
    pairs = tmp_path / "other.jsonl"
    pairs.write_text(task.pairs.read_text() + '{"input": "one", "output": "more"}\n')
    changed = with_tasks_again(made.plan, {"pairs": pairs}, {})
    told = run(changed, ["cpt"])
    assert [line.split(" on ")[1].split(":")[0] for line in told] == ["pairs-v1"] * 2
    shorter = with_tasks_again(changed, {"max_new_tokens": 2}, {})
    (first, *_), _ = score.released_states(shorter)
    digests = score.task_digests(shorter.config.evaluation)
    assert score.scoring_jobs(shorter, [first], digests)[0].missing == ("pairs-v1", "pairs-v2"), "branch-v1 has none"
    assert examples_shown(changed) == {"pairs-v1": {4}, "pairs-v2": {3}}
    assert examples_shown(shorter) == examples_shown(changed), "the newest, while its own form has no score"
    assert run(made.plan, ["cpt"]) == []
    assert examples_shown(made.plan) == {"pairs-v1": {3}, "pairs-v2": {3}}, "changed back: what is there is shown"
    pairs.unlink()
    assert examples_shown(changed) == {"pairs-v1": {4}, "pairs-v2": {3}}, "the newest, where its file is not"


def examples_shown(plan: Plan) -> dict[str, set[int]]:
    """task -> examples behind its numbers, of the two versions of cpt."""
    shown = newest_scores(plan)
    assert {path for path, *_ in shown} == {"cpt-v1", "cpt-v2"}
    return {task: {of[task].examples for of in shown.values()} for task in ("pairs-v1", "pairs-v2")}


def with_tasks_again(plan: Plan, *changes: dict[str, Any]) -> Plan:
    """The same run with other settings of its tasks."""
    from dataclasses import replace

    tasks = tuple(
        task.model_copy(update=change) for task, change in zip(plan.config.evaluation.tasks, changes, strict=True)
    )
    evaluation = plan.config.evaluation.model_copy(update={"tasks": tasks})
    return replace(plan, config=plan.config.model_copy(update={"evaluation": evaluation}))


def test_scores_of_a_state_that_is_no_more_are_not_shown(with_tasks: Callable[..., Any]) -> None:
    plan = with_tasks().plan
    run(plan, ["cpt"])
    layout, other = plan.layout.path("cpt-v2"), plan.layout.path("branch-v2")
    shutil.rmtree(layout.checkpoints)
    shutil.rmtree(layout.branch_points)
    shutil.copytree(other.branch_points, layout.branch_points)
    assert {path for path, *_ in newest_scores(plan)} == {"cpt-v1"}, "trained anew"
    shutil.rmtree(layout.branch_points)
    assert {path for path, *_ in newest_scores(plan)} == {"cpt-v1", "cpt-v2"}, "a copy of ledgers alone"
    shutil.rmtree(layout.directory)
    assert {path for path, *_ in newest_scores(plan)} == {"cpt-v1"}, "deleted, to be trained anew"


def test_untrained_versions_are_left_out(with_tasks: Callable[..., Any]) -> None:
    plan = with_tasks().plan
    shutil.rmtree(plan.layout.path("branch-v2").directory)
    states, missing = score.released_states(plan)
    assert [state.path.name for state in states] == ["branch-v1", "cpt-v1", "cpt-v2"]
    assert missing == ("branch-v2",)


def test_probes_and_their_controls_are_scored_beside_each_other(with_tasks: Callable[..., Any]) -> None:
    file = with_tasks().file
    probes = {"p": {"at": "v2", "steps": 6, "data": {"v1": 1.0}}}
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "probes": probes}, sort_keys=False))
    plan = make_plan(load_config(file))
    (probe,) = plan.graph.probes
    names = (probe.control.name, probe.path.name)
    releases, _ = score.released_states(plan)
    assert score.scored_states(plan) == (releases, names)
    for path in probe.paths:
        train(plan, path)
    states, untrained = score.scored_states(plan)
    assert (untrained, states[:4], tuple(state.path.name for state in states[4:])) == ((), releases, names)
    assert score.scored_states(plan, ["cpt"]) == score.released_states(plan, ["cpt"])
    digests, told = score.task_digests(plan.config.evaluation), list[str]()
    score.score_models(plan, score.scoring_jobs(plan, states[4:], digests), digests, told.append)
    assert told[0].startswith(f"[1/2] {probe.control.name} (step 34) on pairs-v1: rouge_l ")
    found = {(s.path, s.task): s.results["rouge_l"] for s in run_scores(plan)}
    comparison = make_comparison(plan)
    assert comparison.probe_results is not None
    (result,) = comparison.probe_results
    assert list(result.scores) == ["pairs-v1", "pairs-v2"]
    for task, metrics in result.scores.items():
        control, own = (found[name, task] for name in names)
        each = metrics["rouge_l"]
        assert (each.value, each.control_value) == (own.value, control.value)
        assert each.difference == own.value - control.value
        assert own.stderr is not None
        assert control.stderr is not None
        assert each.standard_error == pytest.approx((own.stderr**2 + control.stderr**2) ** 0.5)
    table = probe_table(comparison)
    (row,) = table.texts
    shown = row[table.titles.index("pairs-v2, ROUGE-L")]
    difference, error = (
        result.scores["pairs-v2"]["rouge_l"].difference,
        result.scores["pairs-v2"]["rouge_l"].standard_error,
    )
    assert shown == f"{difference:+.2f} ± {error:.2f}"
    lines = probe_score_records(comparison).to_csv().splitlines()
    assert len(lines) == 3
    assert "scored" in " ".join(table.notes)
    assert list(scored(comparison)["probes"]["p"]) == ["pairs-v1", "pairs-v2"]
    card = (plan.layout.path(probe.path.name).directory / "model-step-00000034" / "README.md").read_text()
    assert "a short decay from the main path that shows what data" in card


def test_before_a_probe_is_scored_the_table_has_no_tasks(with_tasks: Callable[..., Any]) -> None:
    file = with_tasks().file
    probes = {"p": {"at": "v2", "steps": 6, "data": {"v1": 1.0}}}
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "probes": probes}, sort_keys=False))
    table = probe_table(make_comparison(make_plan(load_config(file))))
    assert not any("ROUGE" in title for title in table.titles)
    assert "scored" not in " ".join(table.notes)


def test_the_report_has_the_matrix_of_rouge_l(with_tasks: Callable[..., Any]) -> None:
    plan = with_tasks().plan
    run(plan, ["cpt"])
    comparison = make_comparison(plan)
    assert comparison.tasks == {"pairs-v1": "v1", "pairs-v2": "v2"}
    assert "rouge_l" not in comparison.paradigms["path-switching"].matrices
    matrix = comparison.paradigms["cpt"].matrices["rouge_l"]
    scores = {(s.path, s.task): s.results["rouge_l"].value for s in run_scores(plan)}
    a = [[scores[f"cpt-v{i}", f"pairs-v{j}"] for j in (1, 2)] for i in (1, 2)]
    assert matrix.scores == {"v1": {"v1": a[0][0], "v2": a[0][1]}, "v2": {"v1": a[1][0], "v2": a[1][1]}}
    assert matrix.average == pytest.approx(sum(a[1]) / 2)
    assert (matrix.forward_transfer, matrix.backward_transfer) == (a[0][1], pytest.approx(a[1][0] - a[0][0]))
    assert (matrix.higher_is_better, matrix.after) == (True, "v2")


def test_an_export_in_another_form_is_used_as_it_is(with_tasks: Callable[..., Any]) -> None:
    plan = with_tasks().plan
    (state, *_), _ = score.released_states(plan, ["cpt"])
    place = state.directory(plan.layout.path(state.path.name))
    export_state(plan, state, place, ExportFormat("bf16"))
    before = {file.name: file.stat().st_mtime_ns for file in place.iterdir()}
    run(plan, ["cpt"])
    assert {file.name: file.stat().st_mtime_ns for file in place.iterdir()} == before


def test_an_export_of_another_state_is_refused(with_tasks: Callable[..., Any]) -> None:
    plan = with_tasks().plan
    states, _ = score.released_states(plan, ["cpt"])
    place = states[0].directory(plan.layout.path(states[0].path.name))
    export_state(plan, states[1], place, ExportFormat("fp32"))
    with pytest.raises(CheckpointError, match="has another state"):
        run(plan, ["cpt"])


def test_bad_pairs_are_refused_before_anything_is_loaded(with_tasks: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text("{}\n")
    plan = with_tasks_again(with_tasks().plan, {}, {"pairs": tmp_path / "bad.jsonl"})
    with pytest.raises(DataError, match=r"bad.jsonl:1"):
        score.task_digests(plan.config.evaluation)
    assert run_scores(plan) == []


def test_a_task_is_its_file_and_its_settings(with_tasks: Callable[..., Any], tmp_path: Path) -> None:
    plan = with_tasks().plan
    moved = tmp_path / "moved.jsonl"
    shutil.copy(plan.config.evaluation.tasks[0].pairs, moved)
    digests = score.task_digests(plan.config.evaluation)
    assert score.task_digests(with_tasks_again(plan, {"pairs": moved}, {}).config.evaluation) == digests
    for change in ({"max_new_tokens": 2}, {"template": "Q: {input}"}):
        changed = score.task_digests(with_tasks_again(plan, change, {}).config.evaluation)
        assert [changed[name] == digest for name, digest in digests.items()] == [False, True]


def test_numbers_of_two_forms_of_a_task_never_stand_in_one_table(with_tasks: Callable[..., Any]) -> None:
    plan = with_tasks().plan
    for path, form in (("cpt-v1", "old"), ("cpt-v2", "old"), ("cpt-v2", "new")):
        (state,) = (state for state in score.released_states(plan)[0] if state.path.name == path)
        checkpoint = checkpoint_digest(plan, state.path.name, state.step)
        assert checkpoint is not None
        made = Score(path, state.step, checkpoint, "pairs-v1", form, {"rouge_l": MetricResult(1.0, None, True)}, 3)
        book_event(plan.layout.ledger, KIND, state.step, 1.0, **made.facts())
    ((key, shown),) = newest_scores(plan).items()
    assert (key[0], shown["pairs-v1"].task_sha256) == ("cpt-v2", "new")
