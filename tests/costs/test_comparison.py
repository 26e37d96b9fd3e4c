"""Measured beside planned: sums over ledgers that the tests know by their formulas."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lrps.base.document import to_json
from lrps.base.files import atomic_write_json
from lrps.costs.comparison import Comparison, make_comparison
from lrps.costs.paradigm_costs import MeasuredRatios, MixShares
from lrps.ledger.records import FORMAT, Counters
from lrps.ledger.writer import LedgerWriter
from lrps.paths.paradigms.compile import compile_paradigm
from lrps.report.page import render_page
from lrps.report.tables.versions_table import version_costs_table

SECONDS_A_STEP, A_PATH = 0.036, 12.0
"""Of conftest.py: a step takes 0.036 device-seconds, an attempt 10 to start and 2 to save."""


@pytest.fixture(scope="module")
def comparison(trained: Any) -> Comparison:
    return make_comparison(trained)


@pytest.mark.parametrize(
    ("name", "steps", "repeated", "attempts"),
    [("path-switching", 2900, 0, 5), ("ptfs", 5000, 0, 4), ("cpt", 2000, 150, 5)],
)
def test_measured_sums(comparison: Comparison, name: str, steps: int, repeated: int, attempts: int) -> None:
    measured = comparison.paradigms[name].measured
    assert measured is not None
    seconds = (steps + repeated) * SECONDS_A_STEP
    held = seconds + attempts * A_PATH
    assert (measured.total_steps, measured.repeated_steps, measured.attempts) == (steps, repeated, attempts)
    assert measured.spent_tokens == (steps + repeated) * 256
    assert measured.training_hours == pytest.approx(seconds / 3600)
    assert measured.device_hours == pytest.approx(held / 3600)
    assert measured.money == pytest.approx(2.0 * held / 3600)
    assert measured.goodput == pytest.approx(steps * SECONDS_A_STEP / held)


def test_measured_ratios_compare_training_time(comparison: Comparison) -> None:
    ratios = {name: p.ratios.training_to_ptfs for name, p in comparison.paradigms.items()}
    assert ratios == pytest.approx({"path-switching": 2900 / 5000, "ptfs": 1.0, "cpt": 2150 / 5000})
    assert comparison.paradigms["ptfs"].ratios.training_to_cpt == pytest.approx(5000 / 2150)


def test_the_control_with_as_many_steps_is_no_ptfs_to_compare_with(make: Any, formulas: Any) -> None:
    matched = {"kind": "ptfs", "steps_of": "path-switching"}
    plan = make(paradigms={"matched": matched, "path-switching": {}, "ptfs": {}})
    found = make_comparison(formulas.Run(plan).train().plan)
    assert {name: each.plan.kind for name, each in found.paradigms.items()}["matched"] == "matched-steps"
    assert found.paradigms["path-switching"].ratios.training_to_ptfs == pytest.approx(2900 / 5000)
    assert found.paradigms["matched"].plan.ratio_to_ptfs == found.paradigms["path-switching"].plan.ratio_to_ptfs == 0.58
    assert found.answers.base("ptfs").name == "ptfs"


def test_held_ratios_compare_all_device_time(comparison: Comparison) -> None:
    held = {"path-switching": 2900 * 0.036 + 5 * 12, "ptfs": 5000 * 0.036 + 4 * 12, "cpt": 2150 * 0.036 + 5 * 12}
    for kind in ("ptfs", "cpt"):
        ratios = {name: getattr(p.ratios, f"allocated_to_{kind}") for name, p in comparison.paradigms.items()}
        assert ratios == pytest.approx({name: seconds / held[kind] for name, seconds in held.items()})


def test_what_the_config_says_of_the_rows_is_there(rehearsing: Any) -> None:
    found = make_comparison(rehearsing).paradigms
    assert (found["path-switching"].mix or {})["v4"] == MixShares(new=0.7, replay=0.1, rehearsal=0.2)
    assert list(found["cpt"].mix or ()) == ["v1", "v2", "v3", "v4"]
    assert (found["ptfs"].mix, found["ptfs"].branch_data) == (None, None)
    assert (found["path-switching"].branch_data, found["cpt"].branch_data) == ("rest", None)


def test_the_shared_path_is_measured_once_in_the_graph(comparison: Comparison) -> None:
    measured = comparison.graph.measured
    assert measured is not None
    assert (measured.total_steps, measured.attempts) == (2900 + 5000 + 2000 - 500, 5 + 4 + 5 - 1)


def test_releases_carry_every_evaluation(comparison: Comparison, formulas: Any) -> None:
    last = comparison.paradigms["path-switching"].releases[-1]
    losses = {name: formulas.heldout_loss("branch", "v4", name) for name in ("v1", "v2", "v3", "v4")}
    assert {name: found.loss for name, found in last.heldout.items()} == losses
    assert last.seen_loss == pytest.approx(sum(losses.values()) / 4)
    second = comparison.paradigms["cpt"].releases[1]
    assert set(second.heldout) == {"v1", "v2", "v3"}, "the next version's set is there, but does not count as seen"
    assert second.seen_loss == pytest.approx(
        (formulas.heldout_loss("cpt", "v2", "v1") + formulas.heldout_loss("cpt", "v2", "v2")) / 2
    )


def test_cumulative_steps(comparison: Comparison) -> None:
    totals = {name: list(p.cumulative_steps.values()) for name, p in comparison.paradigms.items()}
    assert totals["path-switching"] == [500, 1300, 2100, 2900]
    assert totals["ptfs"] == [500, 1500, 3000, 5000]
    assert totals["cpt"] == [500, 1000, 1500, 2000]


def test_curves_follow_the_schedule(comparison: Comparison) -> None:
    curve = comparison.curves["branch-v3"]
    assert (curve.parent, curve.steps[0], curve.steps[-1]) == ("main", 1200, 1500)
    assert (curve.lr[0], curve.lr[-1]) == (3e-3, 0.0)
    half = curve.steps.index(1348)
    assert curve.lr[half] == pytest.approx(3e-3 * (1500 - 1348) / 300)
    assert curve.loss_steps == tuple(range(1210, 1501, 10))


def test_a_repeated_step_counts_once_in_a_curve(comparison: Comparison) -> None:
    assert comparison.curves["cpt-v3"].loss_steps == tuple(range(1010, 1501, 10))


def test_before_anything_was_trained(make: Any) -> None:
    comparison = make_comparison(make())
    for paradigm in comparison.paradigms.values():
        assert (paradigm.measured, paradigm.complete) == (None, False)
        assert paradigm.ratios == MeasuredRatios(None, None, None, None)
        assert {release.seen_loss for release in paradigm.releases} == {None}
    assert comparison.graph.measured is None
    assert (comparison.updated, comparison.price) == (None, None)


def test_half_way(make: Any, formulas: Any) -> None:
    plan = make()
    formulas.Run(plan).train(["main", "branch-v1", "ptfs-v1"], stop_at={"main": 900})
    paradigms = make_comparison(plan).paradigms
    switching, cpt = paradigms["path-switching"].measured, paradigms["cpt"].measured
    assert switching is not None
    assert cpt is not None
    assert (switching.total_steps, paradigms["path-switching"].complete) == (900 + 300, False)
    assert cpt.total_steps == 500, "of ptfs-v1, which it shares"
    assert {p.ratios for p in paradigms.values()} == {MeasuredRatios(None, None, None, None)}
    assert switching.money is None, "the config has no price"


def test_a_paradigm_pays_only_for_its_part_of_a_main_path_that_another_takes_further(make: Any, formulas: Any) -> None:
    both = {"path-switching": {"alpha": 0.6}, "longer": {"kind": "path-switching", "alpha": 0.8}}
    plan = make(paradigms=both)
    formulas.Run(plan).train()
    comparison = make_comparison(plan)
    planned = {name: p.plan.cost.steps for name, p in comparison.paradigms.items()}
    assert planned == {"path-switching": 1700 + 4 * 300, "longer": 1600 + 4 * 400}
    for name, steps in planned.items():
        measured = comparison.paradigms[name].measured
        assert measured is not None
        assert measured.total_steps == steps
        assert measured.training_hours == pytest.approx(steps * SECONDS_A_STEP / 3600)
    assert comparison.graph.measured is not None
    assert comparison.graph.measured.total_steps == 1700 + 4 * 300 + 4 * 400


def test_checkpoints_without_their_ledger_are_not_measured(make: Any, formulas: Any) -> None:
    plan = make(paradigms={"ptfs": {}, "cpt": {}}, versions=1)
    path = plan.graph.by_name["ptfs-v1"]
    formulas.publish_checkpoint(plan.layout.path("ptfs-v1"), path.stop, "ptfs-v1")
    atomic_write_json(plan.layout.path("ptfs-v1").path_json, plan.identity(path))
    paradigm = make_comparison(plan).paradigms["ptfs"]
    assert (paradigm.complete, paradigm.measured, paradigm.ratios.training_to_ptfs) == (True, None, None)


def test_its_document_is_plain_json(comparison: Comparison) -> None:
    document = to_json(comparison)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["format"] == "lrps-comparison/1"


def test_a_loss_that_is_no_number_is_left_out(make: Any, formulas: Any) -> None:
    plan = make()
    formulas.Run(plan).train(["ptfs-v1"])
    with open(plan.layout.path("ptfs-v1").metrics, "a", encoding="utf-8") as file:
        line = {"step": 500, "tokens": 1, "loss": float("nan"), "lr": 0.0, "grad_norm": None, "tokens_per_second": 1.0}
        file.write(json.dumps(line) + "\n")
    curve = make_comparison(plan).curves["ptfs-v1"]
    assert curve.loss_steps == tuple(range(10, 500, 10))


def test_cumulative_steps_are_those_of_plans_that_end_earlier(make: Any) -> None:
    strategy = {"alpha": 0.9, "alpha_of": "steps-so-far", "alpha_per_version": {"v3": 0.1}, "release_first": False}
    paradigms = {"path-switching": strategy, "ptfs": {}, "cpt": {}, "wsd-s": {"final_lr": 1e-4}}
    plan = make(paradigms=paradigms)
    found = make_comparison(plan).paradigms
    for name in paradigms:
        ends = [compile_paradigm(plan.config, name, plan.increments[:n]).total_steps for n in (1, 2, 3, 4)]
        assert list(found[name].cumulative_steps.values()) == ends


@pytest.mark.parametrize("release", ["main", "merge", "ema"])
def test_four_equal_versions_without_a_branch_cost_two_fifths_of_ptfs(make: Any, formulas: Any, release: str) -> None:
    average = {"average": {"ema": {}}} if release == "ema" else {}
    plan = make(paradigms={"path-switching": {"release": release}, "ptfs": {}}, **average)
    formulas.Run(plan).train([path.name for path in plan.graph.paths])
    comparison = make_comparison(plan)
    switching = comparison.paradigms["path-switching"]
    assert switching.plan.ratio_to_ptfs == 0.4
    # The merges are not made here, so that their paradigm is not complete.
    measured = None if release == "merge" else pytest.approx(0.4, rel=1e-6)
    assert switching.ratios.training_to_ptfs == measured
    assert [each.cost.marginal.steps for each in switching.releases] == [500] * 4
    assert [each.cost.lineage.steps for each in switching.releases] == [500, 1000, 1500, 2000]
    assert switching.unreleased is None
    assert {each.form for each in switching.releases} == {"raw" if release == "main" else release}
    assert all(each.seen_loss is not None for each in switching.releases)
    words = {"main": "v3", "merge": "v3 (merge of 10 states)", "ema": "v3 (EMA)"}
    assert switching.releases[2].label == words[release]
    assert any(row[1] == words[release] for row in version_costs_table(comparison).rows)
    page = render_page(comparison)
    assert f'<td class="text">{words[release]}</td>' in page
    assert comparison.plan.next["path-switching"].cost.steps == 500


def test_a_merge_and_a_branch_of_one_version_are_side_by_side(make: Any, formulas: Any) -> None:
    """Evaluations of the forms of one step of one path are kept apart, also where paradigms share the path."""
    raw, merged = ({"kind": "path-switching", "release_per_version": {"v4": form}} for form in ("main", "merge"))
    plan = make(paradigms={"raw": raw, "merged": merged})
    formulas.Run(plan).train([path.name for path in plan.graph.paths])
    ledger = LedgerWriter(plan.layout.path("raw-main").ledger)
    start = {"format": FORMAT, "path": "raw-main", "path_start": 0, "device": "cpu", "processes": 1}
    ledger.append("start", 2000, Counters(), **start)
    for loss, form in ((3.0, {}), (2.0, {"form": "merge"})):
        facts = {"heldout": "v4", "bits_per_byte": 1.0, "rows": 4, "tokens": 28, "manifest_sha256": "0" * 64}
        ledger.append("evaluation", 2000, Counters(), loss=loss, **facts, **form)
    ledger.close()
    found = make_comparison(plan).paradigms
    last = {name: found[name].releases[-1] for name in ("raw", "merged")}
    assert {name: (each.path, each.step) for name, each in last.items()} == dict.fromkeys(last, ("raw-main", 2000))
    assert [last[name].heldout["v4"].loss for name in ("raw", "merged")] == [3.0, 2.0]
