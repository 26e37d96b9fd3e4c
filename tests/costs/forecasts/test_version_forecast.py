"""Forecasts of a plan's versions, and the choice of branch lengths, on a curve that follows the law exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import pytest
import yaml

from lrps.base.document import to_json
from lrps.base.errors import ConfigError
from lrps.config.models import Config
from lrps.config.optimizing import optimizer_section
from lrps.costs.answers.pace import SpeedComparison
from lrps.costs.comparison import make_comparison
from lrps.costs.curves.heldout_curve import AveragePoint, BranchEnd, CurvePoint, HeldoutCurve
from lrps.costs.forecasts.newest_forecast import newest_forecast
from lrps.costs.forecasts.plan_losses import branch_losses, losses_of_branches
from lrps.costs.forecasts.planned_loss import PlannedLoss
from lrps.costs.forecasts.spend import alpha_for, budget_in_steps, compiled_steps, spend_choice
from lrps.costs.forecasts.version_forecast import Outlook, outlook, version_forecast
from lrps.costs.planned.plan_document import plan_document
from lrps.costs.price import Price
from lrps.forecast import ForecastRefused
from lrps.plan.plan import Plan, make_plan
from lrps.report.figures.forecast_chart import forecast_figure, length_chart, set_charts
from lrps.report.forecast_text import forecast_remarks, forecast_table, spend_remarks, spend_table
from lrps.report.plan_text import print_plan
from lrps.report.tables.loss_column import loss_cell
from support.forecast_run import STEPS, branch_loss, main_loss

SETS = ("v1", "v2", "v3", "v4")


def curve(plan: Plan, trained: int, known: int) -> HeldoutCurve:
    """Losses of the main path every 250 steps up to `known`, and of the first `trained` branches."""
    points = [
        CurvePoint(t, version, main_loss(version, t), 100) for version in SETS for t in range(250, known + 1, 250)
    ]
    paths = [plan.graph.by_name[f"branch-v{k}"] for k in range(1, trained + 1)]
    ends = [
        BranchEnd(path.name.removeprefix("branch-"), path.name, path.stop, version,
                  branch_loss(version, path.start, path.steps))
        for path in paths for version in SETS
    ]  # fmt: skip
    return HeldoutCurve(tuple(points), tuple(ends), (), 0.0)


@pytest.fixture(scope="module")
def plan(make_config: Callable[..., Config]) -> Plan:
    versions = [{"name": f"v{k}", "tokens": 16 * STEPS} for k in (1, 2, 3, 4)]
    data = {"root": "nowhere", "sequence_length": 8, "versions": versions}
    return make_plan(make_config(data=data, schedule={"peak_lr": 1e-2, "warmup_steps": 100}))


def look_at(plan: Plan, trained: int = 3, known: int = 13_600, seconds: float | None = 36.0) -> Outlook:
    """The outlook of a run of which some versions are trained; v4's branch forks at 13,600."""
    pace = SpeedComparison("measured", "path-switching", seconds, seconds, seconds, None, False, {})
    price = Price(2.0, "USD", "test", "2026-01-01")
    return outlook(plan, {"main": curve(plan, trained, known)}, pace, price)


def test_the_next_version_is_forecast_as_the_law_says(plan: Plan) -> None:
    forecast = version_forecast(look_at(plan))
    assert (forecast.version, forecast.trained) == ("v4", False)
    (planned,) = (row for row in forecast.rows if row.is_planned)
    assert (planned.alpha, planned.steps, planned.fork) == (0.6, 2400, 13_600)
    for version, found in planned.losses.items():
        assert found.loss == pytest.approx(branch_loss(version, 13_600, 2_400), abs=2e-3)
        assert (found.branches, found.known_to, found.refused, found.outcome) == (3, 13_500, None, None)
    assert planned.mean_loss == pytest.approx(sum(f.loss for f in planned.losses.values() if f.loss) / 4)
    assert planned.device_hours == pytest.approx(24)
    assert planned.money == pytest.approx(48)
    assert {row.shape for row in forecast.rows} == {"linear", "1-sqrt"}
    assert sorted({row.steps for row in forecast.rows}) == [600, 1200, 2400, 3600, 4800]


def test_a_trained_version_is_forecast_from_what_was_known_then(plan: Plan) -> None:
    forecast = version_forecast(look_at(plan, trained=4), "v4", [Fraction(3, 5)])
    found = forecast.rows[0].losses["v4"]
    assert forecast.trained
    assert (found.branches, found.known_to) == (3, 13_500)
    assert found.outcome == branch_loss("v4", 13_600, 2_400)
    assert "from the forecast" in " ".join(forecast_remarks(forecast))


def test_an_average_is_a_row_of_the_table(plan: Plan) -> None:
    """Each average is .05 above the branch of its version, so that the offset rule is exact."""
    look = look_at(plan)
    ends = ((12_000, 9_600), (16_000, 13_600))
    averages = tuple(
        AveragePoint(end, "ema", each, branch_loss(each, fork, 2_400) + 0.05) for end, fork in ends for each in SETS
    )
    forecast = version_forecast(replace(look, curve=replace(look.curve, averages=averages)))
    (row,) = forecast.averages
    mean = sum(branch_loss(each, 13_600, 2_400) for each in SETS) / 4
    assert (row.mean_loss, row.mean_branch) == (pytest.approx(mean + 0.05), pytest.approx(mean))
    cells = forecast_table(forecast).texts[-1]
    assert (cells[0], cells[2], cells[3], cells[6]) == ("ema", "0", "16,000", f"{mean + 0.05:.4f}")
    assert any(f"the mean loss {mean:.4f}" in line for line in forecast_remarks(forecast))


def test_noise_above_the_band_is_named(plan: Plan) -> None:
    look = look_at(plan)
    noisy = tuple(replace(p, loss=p.loss + 0.02 * (-1) ** (p.step // 250)) for p in look.curve.points)
    words = [
        " ".join(forecast_remarks(version_forecast(replace(look, curve=replace(look.curve, points=points)))))
        for points in (look.curve.points, noisy)
    ]
    assert ["the wide one of a forecast without branches" in each for each in words] == [False, True]


def test_the_losses_of_a_plan_are_measured_forecast_or_refused(plan: Plan) -> None:
    """Two versions are trained and the main path is known to step 7,500: v3 can be forecast, v4 is too far ahead."""
    look = look_at(plan, trained=2, known=9_500)
    losses = losses_of_branches(look)
    second = [branch_loss(each, 5_600, 2_400) for each in ("v1", "v2")]
    assert losses["branch-v2"] == PlannedLoss(pytest.approx(sum(second) / 2), None, None, None)  # type: ignore[arg-type]
    third = losses["branch-v3"]
    assert third.forecast == pytest.approx(sum(branch_loss(f"v{k}", 9_600, 2_400) for k in (1, 2, 3)) / 3, abs=2e-3)
    assert third.half_width is not None
    assert loss_cell(third) == f"{third.forecast:.4f} +-{third.half_width:.4f}"
    early = losses_of_branches(look_at(plan, trained=1, known=5_500))
    assert (early["branch-v4"].refused, loss_cell(early["branch-v4"])) == ("too far ahead", "- too far ahead")
    assert branch_losses(look)(9_600, 2_400) == third
    assert branch_losses(look)(30_000, 2_400).refused == "too far ahead"


def test_the_mean_is_over_the_versions_so_far_and_needs_them_all(plan: Plan) -> None:
    """v2 is measured on v3 too, which does not count; without losses on v1 there is no mean and no plan's loss."""
    look = look_at(plan, trained=1, known=5_500)
    (row,) = (row for row in version_forecast(look, "v2").rows if row.is_planned)
    assert list(row.losses) == ["v1", "v2", "v3"]
    assert row.mean_loss == pytest.approx(sum(row.losses[each].loss or 0.0 for each in ("v1", "v2")) / 2)
    with_v3 = tuple(p for p in look.curve.points if p.version != "v3" or p.step > 4_000)
    late = replace(look, curve=replace(look.curve, points=with_v3))
    (unchanged,) = (each for each in version_forecast(late, "v2").rows if each.is_planned)
    assert (unchanged.losses["v3"].loss, unchanged.mean_loss) == (None, row.mean_loss)
    without_v1 = tuple(p for p in look.curve.points if p.version != "v1" or p.step > 4_000)
    assert (
        losses_of_branches(replace(look, curve=replace(look.curve, points=without_v1)))["branch-v2"].refused
        == "too few losses"
    )


def test_sets_are_refused_one_by_one(plan: Plan) -> None:
    """On v4 the main path was evaluated after step 12,000 only, when the increment had begun: drift cannot be told."""
    look = look_at(plan)
    points = tuple(p for p in look.curve.points if p.version != "v4" or p.step > 12_000)
    late = Outlook(plan, look.switching, HeldoutCurve(points, look.curve.branch_ends, (), 0.0), look.pace, look.price)
    row = next(row for row in version_forecast(late).rows if row.is_planned)
    assert row.losses["v3"].refused is None
    assert "6 held-out losses" in str(row.losses["v4"].refused)
    early = tuple(p for p in look.curve.points if p.version != "v4" or p.step > 11_000)
    some = Outlook(plan, look.switching, HeldoutCurve(early, look.curve.branch_ends, (), 0.0), look.pace, look.price)
    (planned,) = (row for row in version_forecast(some).rows if row.is_planned)
    assert "whether the losses drifted since step 12,000 cannot be told" in str(planned.losses["v4"].refused)
    assert row.mean_loss is None
    assert "refused" in forecast_table(version_forecast(late)).to_text(200)


def test_short_versions_and_runs_that_were_never_evaluated_are_refused(
    plan: Plan, make_config: Callable[..., Config]
) -> None:
    short = make_plan(make_config())
    pace = SpeedComparison(None, None, None, None, None, None, False, {})
    with pytest.raises(ForecastRefused, match="adds 100 steps"):
        version_forecast(outlook(short, {"main": HeldoutCurve((), (), (), 0.0)}, pace, None), "v2")
    with pytest.raises(ForecastRefused, match="lrps evaluate CONFIG main --steps all"):
        outlook(plan, {}, pace, None)


def test_mistakes_name_what_there_is(plan: Plan) -> None:
    with pytest.raises(ConfigError, match="branches of v1, v2, v3, v4"):
        version_forecast(look_at(plan), "v9")
    with pytest.raises(ConfigError, match="all versions of the plan are trained"):
        version_forecast(look_at(plan, trained=4))


@pytest.mark.parametrize(
    ("text", "steps"), [("0.5ptfs", 20_000), ("200h", 20_000), ("400", 20_000), ("9000steps", 9_000)]
)
def test_budgets_are_steps(plan: Plan, text: str, steps: float) -> None:
    assert budget_in_steps(look_at(plan), text) == pytest.approx(steps)


@pytest.mark.parametrize("text", ["", "0h", "much", "3 weeks"])
def test_a_budget_that_cannot_be_read_is_refused(plan: Plan, text: str) -> None:
    with pytest.raises(ConfigError, match="0.52ptfs"):
        budget_in_steps(look_at(plan), text)


def test_hours_need_a_measured_speed(plan: Plan) -> None:
    with pytest.raises(ConfigError, match="no measured speed"):
        budget_in_steps(look_at(plan, seconds=None), "800h")


def test_chosen_lengths_are_no_worse_within_the_same_budget(plan: Plan) -> None:
    """One branch is trained."""
    look = look_at(plan, trained=1, known=12_000)
    choice = spend_choice(look, "0.75ptfs", frozenset(), 1_600)
    assert [each.version for each in choice.versions] == ["v2", "v3", "v4"]
    alphas = {each.version: each.alpha for each in choice.versions}
    assert choice.steps == compiled_steps(plan, "path-switching", alphas) <= choice.budget_steps == 30_000
    assert sum(each.loss for each in choice.versions) < sum(each.planned_loss for each in choice.versions)
    for each in choice.versions:
        assert each.alpha == alpha_for(look.unit_of(each.version), each.steps)
        assert each.fork + each.steps == look.end_of(each.version)
    assert choice.config_lines[-1].startswith("    alpha_per_version: {v2: ")
    assert "steps in all" in " ".join(spend_remarks(choice))
    assert len(spend_table(choice).rows) == 3


def test_a_fork_behind_the_main_path_is_a_saved_state(plan: Plan) -> None:
    look = look_at(plan, trained=1, known=12_000)
    choice = spend_choice(look, "0.75ptfs", frozenset({5_000, 8_500}), 12_000)
    assert [each.fork for each in choice.versions[:2]] == [5_000, 8_500]
    assert all(each.fork in (5_000, 8_500) or each.fork >= 12_000 for each in choice.versions)


def test_nothing_is_chosen_without_a_finished_branch_or_beyond_the_budget(plan: Plan) -> None:
    with pytest.raises(ForecastRefused, match="only after a branch was finished"):
        spend_choice(look_at(plan, trained=0), "0.6ptfs", frozenset(), 0)
    with pytest.raises(ForecastRefused, match="more than the budget"):
        spend_choice(look_at(plan, trained=1), "17000steps", frozenset(), 1_600)


def test_charts_show_the_curve_and_the_forecast(plan: Plan) -> None:
    look = look_at(plan)
    forecast = version_forecast(look)
    charts = set_charts(forecast, look.curve)
    assert sorted(charts) == [f"forecast-v4-on-v{k}" for k in (1, 2, 3, 4)]
    for heldout, drawing in zip(SETS, charts.values(), strict=True):
        assert "its curve" in drawing.body
        for k in (1, 2, 3):
            branch = plan.graph.by_name[f"branch-v{k}"]
            end = branch_loss(heldout, branch.start, branch.steps)
            assert f"v{k}, measured: {end:.4f}" in drawing.body
        row = next(row for row in forecast.rows if row.is_planned)
        assert f"v4, forecast: {row.losses[heldout].loss:.4f}, 90 % band" in drawing.body


def test_the_chart_over_lengths_has_every_row_and_rings_the_branch_of_the_config(plan: Plan) -> None:
    forecast = version_forecast(look_at(plan))
    ((name, drawing),) = length_chart(forecast).items()
    assert name == "forecast-v4-lengths"
    for row in forecast.rows:
        words = f"{row.shape}, {row.steps:,} steps{' as in the config' if row.is_planned else ''}: {row.mean_loss:.4f}"
        assert words in drawing.body
    assert drawing.body.count("hollow") == 1
    refused = replace(forecast.rows[0].losses["v2"], loss=None, half_width=None, curve=None)
    rows = [replace(r, mean_loss=None, mean_half_width=None, losses={**r.losses, "v2": refused}) for r in forecast.rows]
    (on_newest,) = length_chart(replace(forecast, rows=tuple(rows))).values()
    assert "on v4, because other sets are refused" in on_newest.body
    nothing = [replace(row, losses=dict.fromkeys(SETS, refused)) for row in rows]
    assert length_chart(replace(forecast, rows=tuple(nothing))) == {}


def test_the_report_has_the_charts_of_the_newest_forecast(plan: Plan) -> None:
    look, planned = look_at(plan), make_comparison(plan)
    assert (planned.forecast, forecast_figure(planned)) == (None, None)
    forecast, refused = newest_forecast(plan, {"main": look.curve}, look.pace, look.price)
    assert forecast is not None
    assert (forecast, refused) == (version_forecast(look), None)
    figure = forecast_figure(replace(planned, forecast=forecast, heldout_curves={"main": look.curve}))
    assert figure is not None
    assert [name for name, _ in figure.panels] == ["forecast-v4-lengths", *(f"forecast-v4-on-{each}" for each in SETS)]
    assert "before its branch is trained" in figure.caption


def test_a_run_whose_versions_are_all_trained_shows_the_last_forecast_beside_its_outcome(plan: Plan) -> None:
    look = look_at(plan, trained=4)
    forecast, _ = newest_forecast(plan, {"main": look.curve}, look.pace, None)
    assert forecast is not None
    assert (forecast.version, forecast.trained) == ("v4", True)
    assert [each.version for each in forecast.finished] == ["v1", "v2", "v3"]
    end = branch_loss("v4", 13_600, 2_400)
    assert f"measured: {end:.4f}" in set_charts(forecast, look.curve)["forecast-v4-on-v4"].body
    early = look_at(plan, known=750)
    assert newest_forecast(plan, {"main": early.curve}, early.pace, None) == (None, None)


def test_branches_of_another_paradigm_on_the_same_main_path_do_not_count(make_config: Callable[..., Config]) -> None:
    versions = [{"name": f"v{k}", "tokens": 16 * STEPS} for k in (1, 2, 3, 4)]
    data = {"root": "nowhere", "sequence_length": 8, "versions": versions}
    other = {"kind": "path-switching", "decay": "1-sqrt"}
    paradigms = {"path-switching": {}, "other": other}
    both = make_plan(make_config(data=data, schedule={"peak_lr": 1e-2, "warmup_steps": 100}, paradigms=paradigms))
    ours = curve(both, 1, 12_000)
    theirs = tuple(BranchEnd(f"v{k}", f"other-v{k}", k * STEPS, version, 1.0) for k in (1, 2, 3) for version in SETS)
    pace = SpeedComparison("measured", "path-switching", 36.0, 36.0, 36.0, None, False, {})
    mixed = HeldoutCurve(ours.points, (*ours.branch_ends, *theirs), (), 0.0)
    look = outlook(both, {"main": mixed}, pace, None, "path-switching")
    assert (look.trained, look.next_version()) == ({"v1"}, "v2")
    assert version_forecast(look, "v1", [Fraction(3, 5)]).rows[0].losses["v1"].outcome != 1.0
    choice = spend_choice(look, "0.75ptfs", frozenset(), 1_600)
    assert [each.version for each in choice.versions] == ["v2", "v3", "v4"]


def test_the_config_lines_keep_the_lengths_of_other_versions(make_config: Callable[..., Config]) -> None:
    versions = [{"name": f"v{k}", "tokens": 16 * STEPS} for k in (1, 2, 3, 4)]
    data = {"root": "nowhere", "sequence_length": 8, "versions": versions}
    paradigms = {"path-switching": {"alpha_per_version": {"v1": 0.5}}}
    plan = make_plan(make_config(data=data, schedule={"peak_lr": 1e-2, "warmup_steps": 100}, paradigms=paradigms))
    choice = spend_choice(look_at(plan, trained=1, known=12_000), "0.75ptfs", frozenset(), 2_000)
    values = yaml.safe_load("\n".join(choice.config_lines))["paradigms"]["path-switching"]["alpha_per_version"]
    assert values == {"v1": 0.5, **{each.version: each.alpha for each in choice.versions}}


@pytest.mark.parametrize("kind", ["adamw", "lion", "muon"])
def test_forecasts_say_that_the_law_was_fitted_with_another_optimizer(
    plan: Plan, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the tables of a version and of a budget, in the chart and in the plan; with AdamW nothing changes."""
    config = plan.config.model_copy(update={"optimizer": optimizer_section(kind)(kind=kind)})
    look = replace(look_at(plan, trained=1, known=12_000), plan=replace(plan, config=config))
    forecast = version_forecast(look)
    planned = replace(make_comparison(plan), forecast=forecast, heldout_curves={"main": look.curve})
    chart = forecast_figure(planned)
    assert chart is not None
    print_plan(plan_document(look.plan), losses=losses_of_branches(look))
    places = [
        " ".join(forecast_remarks(forecast)),
        " ".join(spend_remarks(spend_choice(look, "0.75ptfs", frozenset(), 2_000))),
        chart.caption,
        " ".join(capsys.readouterr().out.split()),
    ]
    told = f"fitted to runs with AdamW and was not tested with {kind}"
    assert [told in place for place in places] == [kind != "adamw"] * len(places)
    assert to_json(forecast).get("optimizer") == to_json(plan_document(look.plan)).get("optimizer")
    assert to_json(forecast).get("optimizer") == (None if kind == "adamw" else kind)
    assert ("optimizer" in to_json(forecast)) == (kind != "adamw"), "documents of AdamW are as before"
