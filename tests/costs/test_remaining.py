"""What is still to come, from what was measured where anything was."""

from __future__ import annotations

from typing import Any

import pytest

from lrps.costs.remaining import eta_seconds, eta_seconds_of_all, measured_speeds, remaining_cost, steps_to_do
from lrps.ledger.totals import AttemptPace, Pace, Totals
from lrps.plan.status import PathStatus

H100 = {"device": "H100", "mfu": 0.5, "price_per_device_hour": {"amount": 2.0, "source": "us", "date": "2026-01-31"}}


@pytest.fixture
def plan(make: Any) -> Any:
    return make(hardware=H100)


def at(plan: Any, name: str, state: str, step: int, *paces: tuple[int, int, float], live: int | None = None) -> Any:
    """paces: (processes, steps, device-seconds) of each attempt."""
    path = plan.graph.by_name[name]
    attempts = tuple(AttemptPace(n, Pace(steps, seconds)) for n, steps, seconds in paces)
    totals = Totals(updated=f"2026-01-{len(paces):02d}", processes=paces[-1][0] if paces else 0)
    live_step = step if live is None else live
    return PathStatus(path, state, step, totals, {}, live_step=live_step, paces=attempts)


def test_a_running_path_goes_on_from_where_it_stands_and_others_from_their_checkpoints(plan: Any) -> None:
    assert steps_to_do(at(plan, "main", "running", 500, live=700)) == 1000
    assert steps_to_do(at(plan, "main", "failed", 500, live=700)) == 1200
    assert steps_to_do(at(plan, "branch-v2", "planned", 700)) == 300
    assert steps_to_do(at(plan, "branch-v2", "complete", 1000)) == 0


def test_a_running_path_has_its_own_pace(plan: Any) -> None:
    main = at(plan, "main", "running", 0, (2, 100, 900.0), (4, 200, 160.0), live=700)
    speeds = measured_speeds([main])
    assert eta_seconds(main, speeds) == pytest.approx(1000 * 160 / 200 / 4)
    assert eta_seconds(at(plan, "main", "failed", 0, (2, 100, 900.0)), speeds) is None, "it does not run"


def test_before_its_first_step_that_of_others_on_as_many_processes(plan: Any) -> None:
    done = at(plan, "ptfs-v1", "complete", 500, (2, 500, 1000.0))
    for processes, eta in ((2, 1700.0), (4, None)):
        begun = at(plan, "main", "running", 0, (processes, 0, 0.0))
        speeds = measured_speeds([done, begun])
        assert eta_seconds(begun, speeds) == eta, "how steps scale with processes, nobody has measured"
        assert (eta_seconds_of_all([done, begun], speeds) is None) == (eta is None)


def test_the_graph_takes_what_runs_and_what_waits(plan: Any) -> None:
    main = at(plan, "main", "running", 0, (2, 100, 200.0), live=1600)
    waiting = at(plan, "branch-v2", "planned", 700)
    alone = [main, waiting]
    assert eta_seconds_of_all(alone, measured_speeds(alone)) == pytest.approx(100 + 300)
    newer = at(plan, "ptfs-v1", "complete", 500, (4, 1, 1.0), (4, 499, 1.0))
    with_newer = [*alone, newer]
    assert eta_seconds_of_all(with_newer, measured_speeds(with_newer)) == pytest.approx(100 + 300), "2 processes run"
    other = at(plan, "ptfs-v2", "running", 0, (2, 100, 200.0), live=900)
    both = [main, other, waiting]
    assert eta_seconds_of_all(both, measured_speeds(both)) == pytest.approx((100 + 100 + 300) / 2), "two at a time"
    long = [at(plan, "ptfs-v2", "running", 0, (2, 100, 200.0), live=100), main]
    assert eta_seconds_of_all(long, measured_speeds(long)) == pytest.approx(900), "a path is not cut in two"


def test_while_nothing_runs_by_what_ran_last(plan: Any) -> None:
    old, new = (
        at(plan, "ptfs-v1", "complete", 500, (4, 500, 1000.0)),
        at(plan, "main", "interrupted", 700, (2, 1, 1.0), (2, 699, 699.0)),
    )
    assert eta_seconds_of_all([old, new], measured_speeds([old, new])) == pytest.approx(1000 * 0.5)
    planned = [at(plan, "main", "planned", 0)]
    assert eta_seconds_of_all(planned, measured_speeds(planned)) is None
    assert eta_seconds_of_all([old], measured_speeds([old])) == 0


def test_the_cost_to_come_is_measured_where_anything_was(plan: Any, make: Any) -> None:
    nothing = measured_speeds([])
    modelled = remaining_cost(plan, 1000, nothing)
    assert (modelled.basis, modelled.device_hours) == ("modelled", plan.costs.of(1000).device_hours)
    assert modelled.money == pytest.approx(2 * modelled.device_hours)
    some = measured_speeds([at(plan, "main", "running", 0, (2, 100, 360.0), (4, 100, 360.0))])
    measured = remaining_cost(plan, 1000, some)
    assert (measured.basis, measured.device_hours, measured.money) == ("measured", 1.0, 2.0)
    unknown = remaining_cost(make(), 1000, nothing)
    assert (unknown.basis, unknown.device_hours, unknown.money) == (None, None, None)
    assert (unknown.steps, unknown.tokens) == (1000, 256_000)
