"""Training after `lrps rewind`: amended rates, skipped steps and clipping from its step on, not a byte before it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lrps.audit.run import audit_run
from lrps.base.errors import LineageError
from lrps.config.loader import load_config
from lrps.ledger.metrics import read_metrics
from lrps.ledger.reader import evaluations, read_ledger
from lrps.ledger.totals import total
from lrps.paths.amendments import GENERATION, Amendment
from lrps.plan.plan import Plan, make_plan
from lrps.plan.rewind import rewind
from lrps.store.checkpoints import complete_checkpoints, find
from support.plain_engine import PlainEngine, before_steps, run
from support.values_digests import values_digests

PATHS = ("main", "branch-v1", "branch-v2")
CHANGE = Amendment(8, skip_from=10, skip=3, peak_lr=1e-4, for_steps=15, clip_grad_norm=0.1, reason="spike")
"""Main has 28 steps, forks at 8 and 28 and saves after every fifth."""


def planned(tiny_config: Path, runs: Path, *settings: str) -> Plan:
    return make_plan(load_config(tiny_config, [f"runs={runs}", "track.log_every_steps=3", *settings]))


def states(plan: Plan, *names: str) -> dict[tuple[str, int], Any]:
    """SHA-256 of the weights and moments of every saved state."""
    return {
        (name, saved.step): values_digests(saved)
        for name in names or PATHS
        for place in (plan.layout.path(name).branch_points, plan.layout.path(name).checkpoints)
        for saved in complete_checkpoints(place)
    }


def test_a_rewound_path_is_trained_as_amended_and_as_if_it_had_never_been_beyond_the_step(
    tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, never = (planned(tiny_config, tmp_path / name) for name in ("gone", "never"))
    assert run(gone, *PATHS)
    assert not run(never, "main", stop_after=8)
    before = states(gone)
    asked: list[tuple[int, float, float]] = []
    real = PlainEngine.train_step

    def train_step(engine: PlainEngine, *rows: Any, **more: Any) -> bool:
        asked.append((more["step"], more["lr"], more["clip"]))
        return real(engine, *rows, **more)

    monkeypatch.setattr(PlainEngine, "train_step", train_step)
    for plan in (gone, never):
        rewind(plan, "main", CHANGE)
        asked.clear()
        assert run(replace(plan), *PATHS)
        rates = {step: (lr, clip) for step, lr, clip in asked if step < 28}
        if plan is gone:
            assert list(rates) == [8, 9, *range(13, 28)]
            assert {step: clip for step, (_, clip) in rates.items()} == dict.fromkeys(rates, 0.1)
            schedule = plan.graph.by_name["main"].schedule
            assert [lr for lr, _ in rates.values()] == [1e-4 if s < 23 else schedule.lr_at(s) for s in rates]
    assert states(gone, "main", "branch-v1") == states(never, "main", "branch-v1")
    assert states(gone, "main")["main", 8] == before["main", 8]
    assert states(gone, "main")["main", 28] != before["main", 28]
    assert states(gone, "branch-v2") == {key: each for key, each in before.items() if key[0] == "branch-v2"}
    assert states(gone, "branch-v2")["branch-v2", 40] != states(never, "branch-v2")["branch-v2", 40]
    saved = find(gone.layout.path("main"), 28)
    assert (saved.identity[GENERATION], saved.identity["skipped"]) == (1, [[10, 12]])
    assert GENERATION not in find(gone.layout.path("main"), 8).identity


@pytest.mark.parametrize("stops", [(1, 3, 5), (2, 1, 8)])
def test_resumed_is_straight_after_a_rewind(tiny_config: Path, tmp_path: Path, stops: tuple[int, ...]) -> None:
    straight, resumed = (planned(tiny_config, tmp_path / name) for name in ("straight", "resumed"))
    for plan in (straight, resumed):
        assert run(plan, "main")
        rewind(plan, "main", CHANGE)
    for stop in stops:
        assert not run(replace(resumed), "main", stop_after=stop)
    assert run(replace(straight), *PATHS)
    assert run(replace(resumed), *PATHS)
    # A run that was stopped has saved at other steps, so that retention keeps other states; pins are kept by both.
    there, here = states(straight), states(resumed)
    common = there.keys() & here.keys()
    assert {("main", 8), ("main", 28), ("branch-v1", 20), ("branch-v2", 40)} <= common
    assert {key: here[key] for key in common} == {key: there[key] for key in common}
    audit = audit_run(resumed.layout.run_dir, Path(resumed.config.data.root))
    assert audit.ok, audit.differences
    assert audit.skipped_steps == 3
    assert total(read_ledger(resumed.layout.path("main").ledger)).repeated_by_cause == {"rewind": 20}


def test_a_branch_begins_at_the_amended_rate_of_its_parent(tiny_config: Path, tmp_path: Path) -> None:
    plan = planned(tiny_config, tmp_path)
    assert run(plan, "main")
    rewind(plan, "main", Amendment(8, peak_lr=1e-4))
    assert run(replace(plan), *PATHS)
    first = read_metrics(plan.layout.path("branch-v2").metrics)[0]
    branch = replace(plan).graph.by_name["branch-v2"]
    assert branch.lr_start == 1e-4
    assert first.lr == branch.rates.lr_at(first.step - 1)


def test_evaluations_of_abandoned_states_are_taken_again(tiny_config: Path, tmp_path: Path) -> None:
    plan = planned(tiny_config, tmp_path, "checkpoint.keep_every_steps=5")
    assert run(plan, *PATHS)
    ledger = plan.layout.path("branch-v1").ledger
    before = evaluations(read_ledger(ledger))
    rewind(plan, "branch-v1", Amendment(10, peak_lr=1e-4))
    assert evaluations(read_ledger(ledger)) == {}
    assert run(replace(plan), "branch-v1")
    after = evaluations(read_ledger(ledger))
    assert after.keys() == before.keys()
    assert {key: each.loss for key, each in after.items()} != {key: each.loss for key, each in before.items()}


def test_a_process_group_with_an_outdated_plan_is_refused(tiny_config: Path, tmp_path: Path) -> None:
    plan = planned(tiny_config, tmp_path)
    assert run(plan, "main")
    old = replace(plan)
    assert old.graph
    rewind(plan, "main", CHANGE)
    computed: list[int] = []
    with before_steps(computed.append), pytest.raises(LineageError, match="was taken back"):
        run(old, "main", "branch-v2")
    assert not computed


def test_a_path_is_taken_back_to_its_start_and_a_mistaken_rewind_is_replaced(tiny_config: Path, tmp_path: Path) -> None:
    plan = planned(tiny_config, tmp_path)
    assert not run(plan, "main", stop_after=12)
    rewind(plan, "main", Amendment(15, skip=13))
    rewind(replace(plan), "main", Amendment(15))
    rewind(replace(plan), "main", Amendment(0, peak_lr=1e-3))
    assert states(plan, "main") == {}
    assert run(replace(plan), *PATHS)
    audit = audit_run(plan.layout.run_dir, Path(plan.config.data.root))
    assert audit.ok, audit.differences
    assert audit.skipped_steps == 0


def test_probes_stay_in_a_plan_whose_main_path_was_taken_back(tiny_config: Path, tmp_path: Path) -> None:
    probe = "probes={p: {at: {step: 20}, steps: 4, data: {v2: 1.0}}}"
    plan = planned(tiny_config, tmp_path, probe)
    assert not run(plan, "main", stop_after=12)
    before = set(plan.graph.by_name)
    rewind(plan, "main", Amendment(15, peak_lr=1e-3))
    again = replace(plan)
    assert set(again.graph.by_name) == before >= {"probe-p"}
    assert [each.path.name for each in again.graph.probes] == ["probe-p"]
    assert run(again, "main", *(path.name for path in again.graph.probes[0].paths))
