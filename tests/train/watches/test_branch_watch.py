"""The forecast that stands when a branch starts: recorded once in the run's own ledger, and never in the way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

import pytest

from lrps.audit.run import audit_run
from lrps.base.locks import path_lock
from lrps.config.loader import load_config
from lrps.costs.forecasts.recorded import RecordedForecast, recorded_forecasts
from lrps.ledger.check import check_run
from lrps.plan.plan import Plan, make_plan
from lrps.train.watches import branch_watch
from support.plain_engine import run

Make = Callable[..., Plan]


@pytest.fixture
def make(tiny_config: Path, tmp_path: Path) -> Make:
    """make("key=value", ..., runs="runs") -> the tiny plan: forks after 8 and 28 of 28 steps."""

    def make(*settings: str, runs: str = "runs") -> Plan:
        return make_plan(load_config(tiny_config, [f"runs={tmp_path / runs}", *settings]))

    return make


def recorded(plan: Plan) -> list[RecordedForecast]:
    return list(recorded_forecasts(plan))


def test_a_branch_records_its_forecast_once(make: Make) -> None:
    """The tiny run is too short for the law, so that the record has the reason of the refusal for every set."""
    plan = make("checkpoint.every_steps=3")
    assert run(plan, "main")
    assert recorded(plan) == []
    assert not run(plan, "branch-v1", stop_after=2)
    (found,) = recorded(plan)
    assert (found.version, found.path, found.recorded) == ("v1", "branch-v1", "start")
    assert (found.fork, found.steps, found.shape) == (8, 12, "linear")
    assert list(found.sets) == ["v1", "v2"]
    assert all(loss.loss is None and "adds 20 steps" in str(loss.refused) for loss in found.sets.values())
    assert run(plan, "branch-v1")
    assert len(recorded(plan)) == 1, "a resumed branch records nothing"
    assert run(plan, "branch-v2")
    assert [each.path for each in recorded(plan)] == ["branch-v1", "branch-v2"]
    assert audit_run(plan.layout.run_dir).ok
    assert not [check.fault for check in check_run(plan.layout.run_dir) if check.fault]


def test_a_branch_that_saved_nothing_forks_again_without_a_second_record(make: Make) -> None:
    plan = make()
    assert run(plan, "main")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lrps.train.trainer.Trainer.run", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(plan, "branch-v1")
    assert run(plan, "branch-v1")
    assert [each.path for each in recorded(plan)] == ["branch-v1"]


def test_other_paths_record_nothing(make: Make) -> None:
    plan = make("paradigms={path-switching: {}, ptfs: {}, cpt: {}}")
    assert run(plan, *(path.name for path in plan.graph.paths if not path.name.startswith("branch")))
    assert recorded(plan) == []


@pytest.mark.parametrize("fault", ["locked", "broken"])
def test_a_record_that_cannot_be_written_stops_nothing(
    make: Make, fault: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = make()
    assert run(plan, "main")
    if fault == "locked":
        with path_lock(plan.layout.ledger):
            assert run(plan, "branch-v1")
    else:
        monkeypatch.setattr(branch_watch, "forecast_now", lambda *_: 1 / 0)
        assert run(plan, "branch-v1")
    assert recorded(plan) == []
    assert "its forecast is not recorded" in capsys.readouterr().out


def test_a_record_waits_for_a_ledger_that_others_write_for_a_moment(make: Make) -> None:
    plan = make()
    assert run(plan, "main")
    taken, done = Event(), Event()

    def write_for_a_while() -> None:
        with path_lock(plan.layout.ledger):
            taken.set()
            done.wait(1.5)

    other = Thread(target=write_for_a_while)
    other.start()
    taken.wait()
    assert run(plan, "branch-v1")
    other.join()
    assert [each.path for each in recorded(plan)] == ["branch-v1"]
