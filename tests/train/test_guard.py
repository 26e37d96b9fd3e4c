"""The spike guard in training: off and `warn` change nothing, `skip` is what a run without these steps would be."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest

from lrps.audit.run import audit_run
from lrps.base.errors import NEEDS_DECISION, LineageError, NonFiniteLoss, SpikeError
from lrps.base.step_set import StepSet
from lrps.config.loader import load_config
from lrps.costs.comparison import make_comparison
from lrps.costs.status_document import status_document
from lrps.ledger import frequent_skips
from lrps.ledger.reader import read_ledger
from lrps.ledger.totals import total
from lrps.paths.amendments import Amendment
from lrps.plan.plan import Plan, make_plan
from lrps.plan.rewind import rewind
from lrps.plan.status import plan_status
from lrps.report.status_lines import warning_lines
from lrps.report.summary import doubts
from lrps.store.checkpoints import complete_checkpoints, find
from lrps.store.identity import GUARD, SKIPPED
from lrps.train import job
from lrps.train.watches import spike_guard
from support.plain_engine import PlainEngine, before_steps, run
from support.values_digests import values_digests
from support.webhooks import receiver

PATHS = ("main", "branch-v1", "branch-v2")
BAD = {0: nan, 4: inf, 5: nan, 7: nan, 14: 40.0, 19: 40.0, 20: 40.0, 26: 40.0, 27: 40.0, 30: nan, 39: 40.0}
"""Step -> what its loss is above the computed one. Main has 28 steps, the last 8 on the second version, saves every
fifth and forks at 8 and 28; step 20 is the first one of a segment, where no level is known."""
JUDGED = {"main": [0, 4, 5, 7, 14, 19, 26, 27], "branch-v1": [14, 19], "branch-v2": [30, 39]}
"""Path -> steps that pass without an update."""


@pytest.fixture(autouse=True)
def short_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judge from five values on, since versions have 20 steps."""
    monkeypatch.setattr(spike_guard, "JUDGED_FROM", 5)


@contextmanager
def losses_above(above: dict[int, float]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PlainEngine, "above", staticmethod(lambda step: above.get(step, 0.0)))
        yield


@contextmanager
def left_out(steps: dict[str, list[int]]) -> Iterator[None]:
    """Within the context, let paths leave these steps out."""
    start_path = job.start_path

    def start(plan: Plan, path: Any, *arguments: Any, **more: Any) -> Any:
        skips = StepSet.of([(step, step) for step in steps[path.name]])
        return replace(start_path(plan, path, *arguments, **more), skips=skips)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "start_path", start)
        yield


def planned(tiny_config: Path, runs: Path, action: str | None, *settings: str) -> Plan:
    guard = [] if action is None else [f"guard.action={action}"]
    return make_plan(load_config(tiny_config, [f"runs={runs}", "track.log_every_steps=3", *guard, *settings]))


def weights(plan: Plan, names: Collection[str] = PATHS) -> dict[tuple[str, int], list[str]]:
    """SHA-256 of the weights and moments of every pinned state."""
    return {
        (name, saved.step): values_digests(saved)
        for name in names
        for saved in complete_checkpoints(plan.layout.path(name).branch_points)
    }


def recorded(plan: Plan, name: str) -> list[tuple[str, int, str]]:
    """(kind, first step, cause) of everything that the guard recorded of a path."""
    records = read_ledger(plan.layout.path(name).ledger)
    return [(each.kind, each.facts["first"], each.facts["cause"]) for each in records if each.kind in ("skip", "spike")]


def test_off_and_warn_train_the_same_bits(tiny_config: Path, tmp_path: Path) -> None:
    off, warned = planned(tiny_config, tmp_path / "off", None), planned(tiny_config, tmp_path / "warn", "warn")
    with losses_above({step: above for step, above in BAD.items() if above == 40.0}):
        for plan in (off, warned):
            assert run(plan, *PATHS)
    assert weights(off) == weights(warned)
    assert [off.identity(path) for path in off.graph.paths] == [warned.identity(path) for path in warned.graph.paths]
    one, other = (find(plan.layout.path("main"), 28).identity for plan in (off, warned))
    assert other.keys() - one.keys() == {GUARD}
    assert len(other[GUARD]["losses"]) == 8, "of the second segment"
    assert not recorded(off, "main")
    assert recorded(warned, "main") == [("spike", step, "loss") for step in (14, 19, 26, 27)]
    assert set(total(read_ledger(warned.layout.path("main").ledger)).spikes) == {14, 19, 26, 27}
    assert audit_run(warned.layout.run_dir).ok


def test_skip_is_the_run_that_leaves_these_steps_out(tiny_config: Path, tmp_path: Path) -> None:
    judged, without = planned(tiny_config, tmp_path / "skip", "skip"), planned(tiny_config, tmp_path / "out", None)
    with losses_above(BAD):
        assert run(judged, *PATHS)
    with left_out(JUDGED):
        assert run(without, *PATHS)
    assert weights(judged) == weights(without)
    for name in PATHS:
        assert [step for kind, step, _ in recorded(judged, name) if kind == "skip"] == JUDGED[name]
        one, other = (find(plan.layout.path(name), plan.graph.by_name[name].stop) for plan in (judged, without))
        assert one.identity[SKIPPED] == other.identity[SKIPPED]
    totals = total(read_ledger(judged.layout.path("main").ledger))
    assert totals.uses["skipped"] > 0
    assert "NaN" not in judged.layout.path("main").metrics.read_text()
    audit = audit_run(judged.layout.run_dir)
    assert audit.ok, audit.differences
    assert audit.skipped_steps == 12


def killed_before(plan: Plan, at: int) -> None:
    """Train the main path up to a step, before which the process dies."""

    def die(step: int) -> None:
        if step == at:
            raise MemoryError

    with before_steps(die), pytest.raises(MemoryError):
        run(plan, "main")


@pytest.mark.parametrize(
    ("stops", "kills"), [([1] * 27, []), ([], [6, 8, 15]), ([], [20, 21]), ([4, 16], [27]), ([5], [5, 27, 27])]
)
def test_resumed_is_straight(tiny_config: Path, tmp_path: Path, stops: list[int], kills: list[int]) -> None:
    straight, resumed = (
        planned(tiny_config, tmp_path / name, "skip", "engine.read_every=1") for name in ("straight", "resumed")
    )
    with losses_above(BAD):
        assert run(straight, *PATHS)
        for stop in stops:
            assert not run(resumed, "main", stop_after=stop)
        for kill in kills:
            killed_before(resumed, kill)
        assert run(resumed, *PATHS)
    assert weights(straight) == weights(resumed)
    for name in PATHS:
        assert set(recorded(straight, name)) == set(recorded(resumed, name))
        stop = straight.graph.by_name[name].stop
        one, other = (find(plan.layout.path(name), stop).identity for plan in (straight, resumed))
        assert json.dumps(one[GUARD]) == json.dumps(other[GUARD])
        assert one[SKIPPED] == other[SKIPPED]
        totals = [total(read_ledger(plan.layout.path(name).ledger)) for plan in (straight, resumed)]
        assert totals[0].skipped == totals[1].skipped == StepSet.of([(step, step) for step in JUDGED[name]])
        assert totals[0].unique_tokens == totals[1].unique_tokens
        for each in totals:
            assert sum(each.uses.values()) == pytest.approx(each.spent.allocated_seconds)
    assert audit_run(resumed.layout.run_dir).ok


def test_more_than_three_in_a_row_end_the_attempt(tiny_config: Path, tmp_path: Path) -> None:
    plan = planned(tiny_config, tmp_path, "skip")
    with (
        losses_above(dict.fromkeys(range(11, 40), nan)),
        pytest.raises(NonFiniteLoss, match="step 14: the loss is nan"),
    ):
        run(plan, "main")
    *_, last = read_ledger(plan.layout.path("main").ledger)
    assert (last.kind, last.step, last.counters.steps) == ("failure", 14, 14)
    assert recorded(plan, "main") == [("skip", step, "non-finite") for step in (11, 12, 13)]


@pytest.mark.parametrize("every", ["null", "1", "100"])
def test_stop_ends_at_the_spike_and_saves_nothing_after_it(tiny_config: Path, tmp_path: Path, every: str) -> None:
    settings = [f"runs={tmp_path}", "guard.action=stop", f"engine.read_every={every}", "track.log_every_steps=100"]
    plan = make_plan(load_config(tiny_config, settings))
    with (
        losses_above({12: 40.0}),
        pytest.raises(SpikeError, match="step 12 is a spike: loss .* above the median") as it,
    ):
        run(plan, "main")
    assert it.value.exit_code == NEEDS_DECISION
    layout = plan.layout.path("main")
    *records, last = read_ledger(layout.ledger)
    assert [(each.facts["first"], each.step) for each in records if each.kind == "spike"] == [(12, 13)]
    assert (last.kind, last.step, last.counters.steps) == ("failure", 13, 13)
    assert max(saved.step for saved in complete_checkpoints(layout.checkpoints)) == 10
    with losses_above({12: 40.0}):
        warned = make_plan(load_config(tiny_config, [f"runs={tmp_path}", "guard.action=warn"]))
        assert run(warned, "main"), "it continues with another action"
    assert audit_run(plan.layout.run_dir).ok


def test_skip_is_part_of_the_identity(tiny_config: Path, tmp_path: Path) -> None:
    plan = planned(tiny_config, tmp_path, None)
    assert run(plan, "main")
    with pytest.raises(LineageError, match="`guard`: the run was begun with null, the config says .*skip"):
        run(planned(tiny_config, tmp_path, "skip"), "main")
    assert run(planned(tiny_config, tmp_path, "stop"), *PATHS)


def test_a_guard_that_stops_passes_the_steps_that_an_amendment_leaves_out(tiny_config: Path, tmp_path: Path) -> None:
    plan = planned(tiny_config, tmp_path, "stop")
    with losses_above({19: 40.0}):
        named = r"(?s)main: step 19 is a spike.*lrps rewind CONFIG main --to 15 --skip-from 19 --skip-steps 1\n"
        with pytest.raises(SpikeError, match=named):
            run(plan, "main")
        rewind(plan, "main", Amendment(15, skip_from=19, skip=1))
        assert run(replace(plan), "main")
    assert audit_run(plan.layout.run_dir).skipped_steps == 1


def test_too_many_passed_steps_are_a_warning_and_one_message(
    tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frequent_skips, "MOST", 3)
    with receiver() as hook, losses_above(BAD):
        monkeypatch.setenv("LRPS_NOTIFY_URL", hook.url)
        plan = planned(tiny_config, tmp_path, "skip", "track.notify={}", "engine.read_every=1")
        assert not run(plan, "main", stop_after=13)
        assert not run(plan, "main", stop_after=8)
        assert run(plan, "main")
        found = [(body["step"], body["skipped_steps"]) for body in hook.received if body["event"] == "skips"]
    assert found == [(8, 4)], "the fourth one"
    told = "the guard has let 8 of the last 1,000 steps pass without an update, more than 1 %"
    assert any(f"warning: main: {told}" in line for line in warning_lines(status_document(plan, plan_status(plan))))
    assert any(f"Warning: main: {told}" in line for line in doubts(make_comparison(plan)))
    rewind(plan, "main", Amendment(8))
    passed = total(read_ledger(plan.layout.path("main").ledger)).passed_by_guard
    assert passed == StepSet.of([(0, 0), (4, 5), (7, 7)])


@pytest.mark.parametrize(("action", "expected"), [("warn", [14, 19, 26, 27]), ("skip", [14, 19, 26, 27])])
def test_a_webhook_hears_of_spikes(
    tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: str, expected: list[int]
) -> None:
    with receiver() as hook, losses_above({step: above for step, above in BAD.items() if above == 40.0}):
        monkeypatch.setenv("LRPS_NOTIFY_URL", hook.url)
        assert run(planned(tiny_config, tmp_path, action, "track.notify={}"), "main")
        assert [body["step"] for body in hook.received if body["event"] == "spike"] == expected
