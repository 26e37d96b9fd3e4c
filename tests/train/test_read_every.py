"""The number of steps in a sync changes nothing that is recorded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lrps.base.errors import NonFiniteLoss
from lrps.config.loader import load_config
from lrps.engine.metrics_sync import MetricsSync
from lrps.ledger.reader import read_ledger
from lrps.plan.plan import Plan, make_plan
from lrps.store.checkpoints import complete_checkpoints
from lrps.store.layout import PathLayout
from support import plain_engine

Told = tuple[list[str], list[tuple[object, ...]]]


def planned(tiny_config: Path, runs: Path, *settings: str) -> Plan:
    return make_plan(load_config(tiny_config, [f"runs={runs}", "track.log_every_steps=4", *settings]))


def told(layout: PathLayout) -> Told:
    """metrics.jsonl without speeds, and what the ledger says but for times."""
    metrics = [line.rpartition(', "tokens_per_second"')[0] for line in layout.metrics.read_text().splitlines()]
    records = read_ledger(layout.ledger)
    facts = ("loss", "saved_step", "outcome")
    # When a save in flight is published depends on the disk.
    kept = [each for each in records if each.kind not in ("checkpoint", "branch-point")]
    return metrics, [
        (each.kind, each.step, each.counters.steps, each.counters.tokens, *map(each.facts.get, facts)) for each in kept
    ]


@pytest.fixture(scope="module")
def reference(
    tiny_config: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[str], list[tuple[object, ...]]]:
    plan = planned(tiny_config, tmp_path_factory.mktemp("each"), "engine.read_every=1")
    assert plain_engine.run(plan, "main")
    return told(plan.layout.path("main"))


@pytest.mark.parametrize("every", ["null", "3", "100"])
def test_metrics_and_ledger_are_the_same(tiny_config: Path, tmp_path: Path, reference: Told, every: str) -> None:
    plan = planned(tiny_config, tmp_path, f"engine.read_every={every}")
    synced: list[int] = []
    sync_metrics = plain_engine.PlainEngine.sync_metrics
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            plain_engine.PlainEngine,
            "sync_metrics",
            lambda engine, **flags: (synced.append(len(engine._unsynced)), sync_metrics(engine, **flags))[1],
        )
        assert plain_engine.run(plan, "main")
    assert told(plan.layout.path("main")) == reference
    assert sum(synced) == 28
    expected = {"3": {3}, "100": {4}, "null": {1, 2, 3, 4}}  # By the clock fewer on a slow machine.
    assert max(synced) in expected[every], "a step that is logged or saved is synced first"


def test_a_request_to_stop_in_between_is_seen_at_the_next_sync(tiny_config: Path, tmp_path: Path) -> None:
    plan = planned(tiny_config, tmp_path, "engine.read_every=3")
    assert not plain_engine.run(plan, "main", stop_after=1)
    *_, last = read_ledger(plan.layout.path("main").ledger)
    assert (last.kind, last.step, last.facts["outcome"]) == ("stop", 3, "interrupted")
    assert plain_engine.run(plan, "main")


@pytest.mark.parametrize("asynchronous", ["true", "false"])
def test_a_bad_step_is_synced_before_anything_is_saved(tiny_config: Path, tmp_path: Path, asynchronous: str) -> None:
    """The eighth step is bad, and would be synced together with the 28th."""
    settings = ["engine.read_every=100", "track.log_every_steps=100", "checkpoint.every_steps=5"]
    plan = planned(tiny_config, tmp_path, *settings, f"checkpoint.asynchronous={asynchronous}")
    done, sync_metrics = 0, plain_engine.PlainEngine.sync_metrics

    def failing_sync(engine: Any, **flags: Any) -> MetricsSync:
        nonlocal done
        sync = sync_metrics(engine, **flags)
        good, done = 7 - done, done + len(sync.steps)
        if done <= 7:
            return sync
        return replace(sync, steps=sync.steps[:good], failure=NonFiniteLoss("step 7: the loss is nan"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain_engine.PlainEngine, "sync_metrics", failing_sync)
        with pytest.raises(NonFiniteLoss):
            plain_engine.run(plan, "main")
    layout = plan.layout.path("main")
    assert [checkpoint.step for checkpoint in complete_checkpoints(layout.checkpoints)] == [5]
    *_, last = read_ledger(layout.ledger)
    assert (last.kind, last.step, last.counters.steps) == ("failure", 7, 7), "what came before it is booked"
