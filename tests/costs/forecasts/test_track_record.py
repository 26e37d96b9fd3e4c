"""The track record of a run: forecasts as the ledger keeps them, and beside them what the branches became."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.base.document import to_json
from lrps.base.errors import ConfigError
from lrps.costs.comparison import make_comparison
from lrps.costs.forecasts.recorded import (
    KIND,
    RecordedForecast,
    RecordedLoss,
    forecast_of,
    recorded_forecasts,
    standing_forecasts,
)
from lrps.costs.forecasts.standing import forecast_now, record_on_request
from lrps.costs.forecasts.version_forecast import outlook, version_forecast
from lrps.ledger.check import check_run
from lrps.ledger.records import Counters, Record
from lrps.ledger.writer import book_event
from lrps.plan.plan import Plan
from lrps.report.comparison_text import comparison_markdown
from lrps.report.forecast_text import forecast_table
from lrps.report.page import render_page
from lrps.report.tables.track_record_table import track_record_records, track_record_table
from support.forecast_run import branch_loss, forecast_plan, main_loss, write_branch, write_losses, write_main


@pytest.fixture
def begun(tmp_path: Path) -> Plan:
    """A run of four versions: the main path is known to the fork of v4, and three branches are finished."""
    plan = forecast_plan(tmp_path)
    write_main(plan, 13_600)
    for version in ("v1", "v2", "v3"):
        write_branch(plan, version)
    return plan


def book(plan: Plan, version: str, state: str | None = "a" * 64, recorded: str = "start") -> RecordedForecast:
    path = plan.graph.by_name[f"branch-{version}"]
    found = forecast_now(plan, path, recorded, state)  # type: ignore[arg-type]
    assert found is not None
    book_event(plan.layout.ledger, KIND, path.start, 0.01, **found.facts())
    return found


def test_the_record_is_what_lrps_forecast_says(begun: Plan) -> None:
    found = book(begun, "v4")
    comparison = make_comparison(begun)
    look = outlook(begun, comparison.heldout_curves, comparison.pace, None)
    (row,) = (row for row in version_forecast(look, "v4").rows if row.is_planned)
    shown = {name: (loss.loss, loss.half_width, loss.repeat_last_drop) for name, loss in row.losses.items()}
    assert {name: (loss.loss, loss.half_width, loss.repeat_last_drop) for name, loss in found.sets.items()} == shown
    assert (found.fork, found.steps, found.shape, found.final) == (13_600, 2_400, "linear", 0.0)
    for heldout, loss in found.sets.items():
        assert loss.loss == pytest.approx(branch_loss(heldout, 13_600, 2_400), abs=2e-3)
        assert (loss.branches, loss.known_to) == ({"v1": 3, "v2": 3, "v3": 2, "v4": 1}[heldout], 13_500)
    assert recorded_forecasts(begun) == (found,)
    assert not [check.fault for check in check_run(begun.layout.run_dir) if check.fault]


def test_forecast_and_outcome_stand_side_by_side(begun: Plan) -> None:
    book(begun, "v4")
    before = make_comparison(begun).track_record
    assert before is not None
    assert {(each.heldout, each.outcome, each.error) for each in before} == {
        (f"v{k}", None, None) for k in (1, 2, 3, 4)
    }
    losses = {f"v{k}": branch_loss(f"v{k}", 13_600, 2_400) for k in (1, 2, 3)} | {"v4": 2.0}
    write_losses(begun, "branch-v4", [(16_000, losses)])
    comparison = make_comparison(begun)
    record = {each.heldout: each for each in comparison.track_record or ()}
    for heldout, each in record.items():
        assert each.outcome == losses[heldout]
        assert each.loss is not None
        assert each.half_width is not None
        assert each.repeat_last_drop is not None
        assert each.error == each.outcome - each.loss
        assert each.error_in_half_widths == each.error / each.half_width
        assert each.inside == (heldout != "v4")
        assert each.repeat_error == each.outcome - each.repeat_last_drop
    assert to_json(comparison)["track_record"][0]["inside"] is True
    for text in (comparison_markdown(comparison), render_page(comparison)):
        assert "orecasts and outcomes" in text
        assert "3 of 4 measured losses are in their bands" in text
        assert f"{record['v1'].error:+.4f}" in text
    assert len(track_record_records(comparison.track_record or ()).rows) == 4


def test_a_run_without_records_has_no_track_record(begun: Plan) -> None:
    comparison = make_comparison(begun)
    assert comparison.track_record is None
    assert "track_record" not in to_json(comparison)
    assert "orecasts and outcomes" not in comparison_markdown(comparison)


def test_a_refusal_is_recorded_with_its_reason(tmp_path: Path) -> None:
    plan = forecast_plan(tmp_path)
    alone = book(plan, "v1")
    assert {str(loss.refused) for loss in alone.sets.values()} == {
        "main has no ledger here, so that its losses are not known"
    }
    write_losses(plan, "main", [(1_000, {"v1": 3.0})])
    losses = book(plan, "v1").sets
    assert "1 held-out losses from which its curve can be fitted" in str(losses["v1"].refused)
    assert losses["v2"].refused == "the main path was never evaluated on this held-out set"
    record = make_comparison(plan).track_record
    assert record is not None
    assert track_record_table(record).rows == ()
    assert len(record) == 2


def test_the_forecast_at_the_start_counts_and_the_newest_of_them(begun: Plan) -> None:
    early = book(begun, "v4", None, "request")
    assert standing_forecasts(begun) == {"branch-v4": early}
    start = book(begun, "v4")
    book(begun, "v4", None, "request")
    assert standing_forecasts(begun) == {"branch-v4": start}
    again = book(begun, "v4", "b" * 64)
    assert standing_forecasts(begun) == {"branch-v4": again}
    other = replace(again, steps=800, fork=15_200)
    book_event(begun.layout.ledger, KIND, 15_200, 0.01, **other.facts())
    assert standing_forecasts(begun) == {"branch-v4": again}, "that of another length is none of the plan's branch"


@pytest.mark.parametrize("changes", [{"shape": "cosine"}, {"final": 0.5}])
def test_a_forecast_of_another_decay_is_none_of_the_branch(begun: Plan, changes: dict[str, Any]) -> None:
    path = begun.graph.by_name["branch-v4"]
    found = book(begun, "v4")
    assert found.is_start_of(begun, path, "a" * 64)
    other = replace(found, **changes)
    assert not other.is_start_of(begun, path, "a" * 64)
    book_event(begun.layout.ledger, KIND, path.start, 0.01, **other.facts())
    assert standing_forecasts(begun) == {"branch-v4": found}


def test_the_final_rate_is_no_part_of_a_multi_step_decay(tmp_path: Path) -> None:
    plan = forecast_plan(tmp_path, paradigms={"path-switching": {"decay": "multi-step"}})
    found = book(plan, "v4")
    assert replace(found, final=0.5).is_of(plan, plan.graph.by_name["branch-v4"])


def test_a_trained_version_is_forecast_from_what_its_record_says_was_known(begun: Plan) -> None:
    """The main path was at the end of the increment, beyond the fork of v4, when the branch began."""
    write_losses(begun, "main", [(t, {name: main_loss(name, t) for name in begun.heldout}) for t in (14_000, 15_000)])
    found = book(begun, "v4")
    assert found.sets["v1"].known_to == 15_000
    write_branch(begun, "v4")
    comparison = make_comparison(begun)
    assert comparison.track_record is not None
    curves, pace = comparison.heldout_curves, comparison.pace
    then = version_forecast(outlook(begun, curves, pace, None, record=comparison.track_record), "v4")
    (row,) = (row for row in then.rows if row.is_planned)
    assert {name: (loss.loss, loss.known_to) for name, loss in row.losses.items()} == {
        name: (loss.loss, loss.known_to) for name, loss in found.sets.items()
    }
    assert "from what was known when its branch began" in forecast_table(then).title
    assert comparison.forecast == then
    alone = version_forecast(outlook(begun, curves, pace, None), "v4")
    assert alone.rows[0].losses["v1"].known_to == 13_500
    assert "main path up to its fork" in forecast_table(alone).title


def test_a_forecast_that_was_asked_for_is_marked(begun: Plan) -> None:
    book(begun, "v4", None, "request")
    shown = track_record_table(make_comparison(begun).track_record or ())
    assert all(row[2].endswith(" before the start") for row in shown.rows)


def test_a_request_comes_before_the_branch(begun: Plan) -> None:
    record_on_request(begun, begun.graph.by_name["branch-v4"])
    (found,) = recorded_forecasts(begun)
    assert (found.version, found.recorded, found.state) == ("v4", "request", None)
    with pytest.raises(ConfigError, match="was begun already"):
        record_on_request(begun, begun.graph.by_name["branch-v3"])


numbers = st.floats(0.1, 10)
curves = st.fixed_dictionaries({"limit": numbers, "scale": numbers, "exponent": numbers})
made = st.builds(
    RecordedLoss, numbers, numbers, st.none() | numbers, st.integers(0, 9), st.integers(1, 9), curves, st.none()
)
refused = st.builds(RecordedLoss, refused=st.text(min_size=1))


@given(st.dictionaries(st.sampled_from(["v1", "v2", "v3"]), made | refused), st.none() | st.just("a" * 64))
def test_a_record_is_read_as_it_was_written(losses: dict[str, RecordedLoss], state: str | None) -> None:
    written = RecordedForecast("v1", "branch-v1", 8, 12, "1-sqrt", 0.1, "start", state, losses)
    facts = written.facts() | {"added_later": 1}
    facts["sets"] = {name: {**values, "added_later": 1} for name, values in facts["sets"].items()}
    assert forecast_of(Record(KIND, 8, "", Counters(), facts, "")) == written
