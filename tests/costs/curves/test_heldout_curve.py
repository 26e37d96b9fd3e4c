"""Held-out curves of main paths, and the paired differences of the versions that branch from them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import pytest

from lrps.base.document import to_json
from lrps.config.loader import load_config
from lrps.costs.comparison import Comparison, make_comparison
from lrps.costs.curves.paired_difference import mean_and_error
from lrps.costs.status_document import status_document
from lrps.export.card import card_document, render_card
from lrps.export.states import chosen_states
from lrps.ledger.reader import EvaluationKey, evaluations, read_ledger
from lrps.paths.amendments import Amendment
from lrps.plan.plan import Plan, make_plan
from lrps.plan.released_state import find_state
from lrps.plan.rewind import rewind
from lrps.plan.status import plan_status
from lrps.report.files import write_report
from lrps.report.status_lines import heldout_lines
from lrps.store.row_losses import read_row_losses
from support.plain_engine import run

EVERY = "evaluation.main_every_steps=4"


@pytest.fixture(scope="module")
def plan(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A trained run: main evaluated every 4 of its 28 steps, branches from 8 to 20 and from 28 to 40."""
    root = tmp_path_factory.mktemp("curve")
    plan = make_plan(load_config(tiny_config, [f"runs={root}", EVERY, "paradigms={path-switching: {alpha: 0.6}}"]))
    assert run(plan, "main", "branch-v1", "branch-v2")
    return plan


@pytest.fixture(scope="module")
def comparison(plan: Plan) -> Comparison:
    return make_comparison(plan)


def rows(plan: Plan, name: str, step: int, version: str) -> list[float]:
    found = evaluations(read_ledger(plan.layout.path(name).ledger))[EvaluationKey(step, version)]
    losses = read_row_losses(plan.layout.path(name).row_losses(step, version), found.row_losses_sha256)
    assert losses is not None
    return list(losses)


def test_the_points_are_the_records_of_the_main_path(plan: Plan, comparison: Comparison) -> None:
    curve = comparison.heldout_curves["main"]
    found = evaluations(read_ledger(plan.layout.path("main").ledger))
    assert {(p.step, p.version): (p.loss, p.rows) for p in curve.points} == {
        (key.step, key.heldout): (each.loss, each.rows) for key, each in found.items()
    }
    assert sorted({p.step for p in curve.points}) == [4, 8, 12, 16, 20, 24, 28]
    assert {(end.released, end.step) for end in curve.branch_ends} == {("v1", 20), ("v2", 40)}
    assert curve.device_hours > 0


def test_a_difference_is_that_of_the_sequences_at_the_fork_and_at_the_same_step(
    plan: Plan, comparison: Comparison
) -> None:
    differences = {(d.released, d.main_step, d.version): d for d in comparison.heldout_curves["main"].differences}
    assert {(released, step) for released, step, _ in differences} == {("v1", 8), ("v1", 20), ("v2", 28)}
    for (released, step, version), found in differences.items():
        branch = rows(plan, found.path, found.step, version)
        pairs = [a - b for a, b in zip(branch, rows(plan, "main", step, version), strict=True)]
        assert found.rows == len(pairs) == plan.heldout_rows(version)
        assert found.difference == pytest.approx(fmean(pairs), rel=1e-9, abs=1e-12)
        assert found.standard_error == pytest.approx(stdev(pairs) / len(pairs) ** 0.5, rel=1e-9)
        assert released == ("v1" if found.step == 20 else "v2")


def test_pairs_have_less_noise_than_losses(plan: Plan, comparison: Comparison) -> None:
    for found in comparison.heldout_curves["main"].differences:
        alone = [np.std(rows(plan, *where, found.version), ddof=1) for where in ((found.path, found.step),)]
        assert found.standard_error is not None
        assert found.standard_error < alone[0] / found.rows**0.5


def test_a_cap_that_comes_later_leaves_one_curve_on_the_same_sequences(plan: Plan, tmp_path: Path) -> None:
    config = plan.config.model_copy(update={"runs": tmp_path, "name": "capped"})
    whole = make_plan(config)
    assert not run(whole, "main", stop_after=12)
    evaluation = config.evaluation.model_copy(update={"main_max_rows": 3})
    capped = make_plan(config.model_copy(update={"evaluation": evaluation}))
    assert run(capped, "main", "branch-v1")
    curve = make_comparison(capped).heldout_curves["main"]
    assert {point.rows for point in curve.points} == {3}
    assert sorted({point.step for point in curve.points}) == [4, 8, 12, 16, 20, 24, 28]
    early = next(point for point in curve.points if (point.step, point.version) == (8, "v2"))
    assert early.loss == pytest.approx(fmean(rows(capped, "main", 8, "v2")[:3]))
    end = next(end for end in curve.branch_ends if end.version == "v1")
    assert end.loss == pytest.approx(fmean(rows(capped, "branch-v1", 20, "v1")[:3]))
    assert {d.rows for d in curve.differences if d.main_step == 20} == {3}


def test_losses_of_sequences_of_another_evaluation_do_not_count(plan: Plan, tmp_path: Path) -> None:
    config = plan.config.model_copy(update={"runs": tmp_path, "name": "damaged"})
    damaged = make_plan(config)
    assert run(damaged, "main", "branch-v1")
    file = damaged.layout.path("main").row_losses(8, "v1")
    file.write_bytes(file.read_bytes()[::-1])
    damaged.layout.path("main").row_losses(20, "v1").unlink()
    differences = make_comparison(damaged).heldout_curves["main"].differences
    assert {(d.main_step, d.version) for d in differences} == {(8, "v2"), (20, "v2")}


def test_the_report_draws_it_and_names_its_cost(plan: Plan, comparison: Comparison, tmp_path: Path) -> None:
    write_report(plan, comparison, ("html", "md", "csv", "json"), tmp_path)
    page = (tmp_path / "index.html").read_text()
    assert "The main path, seen on held-out data" in page
    assert "versions against the main path" in page.lower()
    assert "evaluations of the main path took: main " in page
    drawing = (tmp_path / "figures" / "main-curve-main.svg").read_text()
    for end in comparison.heldout_curves["main"].branch_ends:
        assert f"{end.released} ({end.path}) on {end.version}: {end.loss:.4f}" in drawing
    lines = (tmp_path / "paired.csv").read_text().splitlines()
    assert len(lines) == 1 + len(comparison.heldout_curves["main"].differences)
    stored = json.loads((tmp_path / "comparison.json").read_text())["heldout_curves"]["main"]
    assert [(p["step"], p["version"], p["loss"]) for p in stored["points"]] == [
        (p.step, p.version, p.loss) for p in comparison.heldout_curves["main"].points
    ]


def test_status_shows_the_newest_losses_of_the_main_path(plan: Plan) -> None:
    document = status_document(plan, plan_status(plan))
    found = evaluations(read_ledger(plan.layout.path("main").ledger))
    newest = {version: found[EvaluationKey(28, version)].loss for version in ("v1", "v2")}
    main, *branches = document.paths
    assert main.newest_heldout is not None
    assert (main.newest_heldout.step, main.newest_heldout.losses) == (28, newest)
    assert {branch.newest_heldout for branch in branches} == {None}
    losses = ", ".join(f"{version} {loss:.4f}" for version, loss in newest.items())
    assert heldout_lines(document) == [f"main: held-out loss at step 28: {losses}"]


def of_form(plan: Plan, name: str, step: int, version: str, form: str) -> list[float]:
    """Losses of sequences by the name of their file, checked against the loss and the digest in the ledger."""
    found = evaluations(read_ledger(plan.layout.path(name).ledger))[EvaluationKey(step, version, form)]
    file = f"step-{step:08d}{'' if form == 'raw' else f'.{form}'}-{version}.f32"
    losses = read_row_losses(plan.layout.run_dir / name / "heldout" / file, found.row_losses_sha256)
    assert losses is not None
    assert fmean(losses) == pytest.approx(found.loss, rel=1e-6)
    return list(losses)


def assert_paired(difference: float, error: float | None, one: list[float], other: list[float]) -> None:
    pairs = [a - b for a, b in zip(one, other, strict=True)]
    assert difference == pytest.approx(fmean(pairs), abs=1e-6)
    assert error == pytest.approx(stdev(pairs) / len(pairs) ** 0.5, rel=1e-9)


@pytest.fixture(scope="module")
def averaged(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A trained run: v2 as a branch, as the average of the main path and as a merge of its states."""
    root = tmp_path_factory.mktemp("averaged")
    versions = "{branches: {kind: path-switching, alpha: 0.6}, e: {kind: path-switching, release: ema}, "
    paradigms = f"paradigms={versions}m: {{kind: path-switching, release: merge}}}}"
    plan = make_plan(load_config(tiny_config, [f"runs={root}", EVERY, "average={ema: {}}", paradigms]))
    assert run(plan, *(path.name for path in plan.graph.paths))
    return plan


def test_averages_have_paired_differences_from_the_weights_that_they_average(averaged: Plan) -> None:
    found = {
        (d.released, d.form, d.version): d
        for d in make_comparison(averaged).heldout_curves["branches-main"].differences
        if d.form != "raw"
    }
    assert {key[:2] for key in found} == {(version, form) for version in ("v1", "v2") for form in ("ema", "merge")}
    for (_, form, heldout), each in found.items():
        assert (each.path, each.step) == ("branches-main", each.main_step)
        own = of_form(averaged, "branches-main", each.step, heldout, form)
        assert_paired(
            each.difference, each.standard_error, own, of_form(averaged, "branches-main", each.step, heldout, "raw")
        )


def test_averages_are_beside_the_branch_of_their_version(averaged: Plan) -> None:
    found = make_comparison(averaged).averages_beside_branches
    seen = {(each.version, each.form, each.step, each.released, each.branch) for each in found}
    assert seen == {
        *(("v1", form, 20, True, "branches-v1") for form in ("ema", "merge")),
        *(("v2", form, 40, True, "branches-v2") for form in ("ema", "merge")),
        ("v2", "ema", 28, False, "branches-v2"),  # The average of the state that the branch forked from.
    }
    for each in found:
        own = of_form(averaged, each.path, each.step, each.heldout, each.form)
        branch = of_form(averaged, each.branch, each.branch_step, each.heldout, "raw")
        assert_paired(each.difference, each.standard_error, own, branch)
        assert each.difference == each.loss - each.branch_loss
        assert each.rows == len(own)


def test_reports_have_the_averages_beside_the_branches(averaged: Plan, tmp_path: Path) -> None:
    comparison = make_comparison(averaged)
    write_report(averaged, comparison, ("html", "md", "csv"), tmp_path)
    lines = (tmp_path / "averages.csv").read_text().splitlines()
    assert len(lines) == 1 + len(comparison.averages_beside_branches) > 8
    assert {"paired-branches-main-fork.svg", "paired-branches-main-step.svg"} <= {
        file.name for file in (tmp_path / "figures").iterdir()
    }
    for text in ((tmp_path / "index.html").read_text(), (tmp_path / "comparison.md").read_text()):
        assert "Averages beside branches" in text
        assert "merge of branches-main @ 40" in text
        assert "ema of branches-main @ 28, at the fork" in text
        assert "branches-v2 @ 40" in text


@pytest.mark.parametrize("form", ["ema", "merge"])
def test_the_card_of_an_average_has_the_branch_beside_it(averaged: Plan, form: str) -> None:
    states = {state.form: state for state in chosen_states(averaged, ["branches-main"], "v2")}
    checkpoints = [find_state(averaged, "branches-main", 40, form)]
    model = {"architecture": "LlamaForCausalLM", "model_type": "llama", "parameters": 12_345, "dtype": "bf16"}
    card = card_document(averaged, states[form], checkpoints, averaged.manifests["v1"].tokenizer, model)
    wanted = [
        each for each in make_comparison(averaged).averages_beside_branches if (each.step, each.form) == (40, form)
    ]
    assert [each["heldout"] for each in card["branches"]] == ["v1", "v2"]
    assert card["branches"] == [to_json(each) for each in wanted]
    section = render_card(card).split("### Beside the branch of the same version")[1].split("## Cost")[0]
    for each in wanted:
        losses = f"{each.loss:.4f} | branches-v2, step 40 | {each.branch_loss:.4f} | {each.difference:+.4f}"
        assert f"| v2 | {each.heldout} | {losses} | {each.standard_error:.4f} | {each.rows} |" in section


def test_the_card_of_a_branch_has_no_such_section(averaged: Plan) -> None:
    (state,) = chosen_states(averaged, ["branches-v2"])
    found = find_state(averaged, "branches-v2", 40)
    model = {"architecture": "LlamaForCausalLM", "model_type": "llama", "parameters": 12_345, "dtype": "bf16"}
    card = card_document(averaged, state, [found], averaged.manifests["v1"].tokenizer, model)
    assert card["branches"] == []
    assert "Beside the branch" not in render_card(card)


def test_a_branch_is_not_compared_with_another_history_of_its_fork(averaged: Plan, tmp_path: Path) -> None:
    shutil.copytree(averaged.layout.run_dir, tmp_path / averaged.layout.run_dir.name)
    plan = make_plan(averaged.config.model_copy(update={"runs": tmp_path}))

    def forks(plan: Plan) -> set[tuple[str, int]]:
        comparison = make_comparison(plan)
        found = {(d.released, d.main_step) for d in comparison.heldout_curves["branches-main"].differences}
        return found | {(a.version, a.step) for a in comparison.averages_beside_branches if not a.released}

    assert ("v2", 28) in forks(plan)
    rewind(plan, "branches-main", Amendment(8, peak_lr=1e-3))
    assert run(replace(plan), "branches-main")
    after = forks(replace(plan))
    assert ("v1", 8) in after, "the state of that step is of the older history"
    assert ("v2", 28) not in after
    assert ("v2", 40) in after, "as many steps, if of another history"


def test_an_average_without_losses_of_sequences_has_a_difference_and_no_error(averaged: Plan) -> None:
    """As evaluated by an earlier version of lrps, which kept no files for averages."""
    file = averaged.layout.path("branches-main").row_losses(40, "v2", "ema")
    content = file.read_bytes()
    file.unlink()
    try:
        comparison = make_comparison(averaged)
    finally:
        file.write_bytes(content)
    (one,) = [
        each
        for each in comparison.averages_beside_branches
        if (each.version, each.form, each.step, each.heldout) == ("v2", "ema", 40, "v2")
    ]
    assert one.standard_error is None
    assert one.difference == one.loss - one.branch_loss
    differences = comparison.heldout_curves["branches-main"].differences
    assert not [d for d in differences if (d.form, d.step, d.version) == ("ema", 40, "v2")]


def test_a_single_sequence_has_no_standard_error() -> None:
    assert mean_and_error([2.0]) == (2.0, None)
    assert mean_and_error([1.0, 3.0]) == (2.0, 1.0)
