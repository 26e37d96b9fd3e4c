"""The held-out curve of a main path: taken when training passes a step, never owed, and without effect on training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lrps.audit.run import audit_run
from lrps.base.errors import CheckpointError
from lrps.config.loader import load_config
from lrps.data.open_source import open_source
from lrps.engine.build.placed_model import build_placed
from lrps.engine.build.placement import Placement
from lrps.engine.model_config import model_config
from lrps.ledger.metrics import read_metrics
from lrps.ledger.reader import HeldoutEvaluation, read_ledger
from lrps.ledger.records import Record
from lrps.ledger.totals import total
from lrps.plan.main_curve import main_curve
from lrps.plan.plan import Plan, make_plan
from lrps.plan.status import path_status
from lrps.store.checkpoints import complete_checkpoints, find
from lrps.store.row_losses import read_row_losses
from support.plain_engine import run
from support.raw_evaluations import raw_evaluations
from support.synthetic_run import rewrite

Make = Callable[..., Plan]
OFF = "evaluation.main_every_steps=null"


@pytest.fixture
def make(tiny_config: Path, tmp_path: Path) -> Make:
    """make("key=value", ..., runs="runs") -> the tiny plan: forks after 8 and 28 of 28 steps, saves every 5 steps."""

    def make(*settings: str, runs: str = "runs") -> Plan:
        return make_plan(load_config(tiny_config, [f"runs={tmp_path / runs}", *settings]))

    return make


def records(plan: Plan, name: str = "main") -> list[Record]:
    return list(read_ledger(plan.layout.path(name).ledger))


def curve(plan: Plan) -> dict[tuple[int, str], HeldoutEvaluation]:
    return raw_evaluations(records(plan))


def state_of(plan: Plan) -> str:
    return path_status(plan, plan.graph.by_name["main"]).state


def steps(plan: Plan) -> list[int]:
    return sorted({step for step, _ in curve(plan)})


def test_by_default_every_fork_is_evaluated_on_the_sets_of_the_version_that_forks(make: Make) -> None:
    plan = make()
    assert main_curve(plan, plan.graph.by_name["main"]) == {8: ("v1", "v2"), 28: ("v1", "v2")}
    assert main_curve(plan, plan.graph.by_name["branch-v1"]) == {}
    assert run(plan, "main")
    assert list(curve(plan)) == [(8, "v1"), (8, "v2"), (28, "v1"), (28, "v2")]
    assert {found.rows for found in curve(plan).values()} == {plan.heldout_rows("v1"), plan.heldout_rows("v2")}
    assert total(records(plan)).spent.evaluating_seconds > 0
    assert audit_run(plan.layout.run_dir).ok


def test_evaluations_change_no_bit_of_what_is_trained(make: Make) -> None:
    with_it, without = make("evaluation.main_every_steps=1"), make(OFF, runs="other")
    for plan in (with_it, without):
        assert run(plan, "main")
    assert (steps(with_it), steps(without)) == (list(range(1, 29)), [])
    for step in (8, 28):
        one, other = (find(plan.layout.path("main"), step) for plan in (with_it, without))
        assert one.manifest["digest"] == other.manifest["digest"]
    one, other = (
        [(m.step, m.loss, m.lr, m.grad_norm) for m in read_metrics(plan.layout.path("main").metrics)]
        for plan in (with_it, without)
    )
    assert one == other


def test_a_path_that_was_finished_without_it_stays_finished(make: Make) -> None:
    assert run(make(OFF), "main")
    plan = make("evaluation.main_every_steps=3")
    assert state_of(plan) == "complete"
    attempts = total(records(plan)).attempts
    assert run(plan, "main")
    assert total(records(plan)).attempts == attempts
    assert curve(plan) == {}


def test_an_attempt_evaluates_what_it_passes_and_nothing_before(make: Make) -> None:
    assert not run(make(OFF), "main", stop_after=10)
    plan = make("evaluation.main_every_steps=3")
    assert run(plan, "main")
    assert steps(plan) == [12, 15, 18, 21, 24, 27, 28]
    assert state_of(plan) == "complete"


def test_a_state_that_was_saved_but_not_evaluated_is_evaluated_when_it_is_resumed(make: Make) -> None:
    plan = make()
    assert not run(plan, "main", stop_after=8)
    rewrite(plan.layout.path("main").ledger, lambda _, record: None if record.kind == "evaluation" else record)
    assert steps(plan) == []
    assert run(plan, "main")
    assert steps(plan) == [8, 28]
    whole = make(runs="whole")
    assert run(whole, "main")
    assert curve(plan) == curve(whole)


def test_a_save_at_such_a_step_is_not_awaited(make: Make) -> None:
    plan = make("evaluation.main_every_steps=10", "paradigms={path-switching: {alpha: 0.5}}")
    assert run(plan, "main")
    events = [(r.kind, r.facts.get("saved_step", r.step)) for r in records(plan)]
    assert events.index(("evaluation", 10)) < events.index(("checkpoint", 10)), "published once the next steps are read"


def test_a_cap_takes_the_first_sequences_and_leaves_releases_whole(make: Make) -> None:
    whole, capped = make(runs="whole"), make("evaluation.main_max_rows=3")
    for plan in (whole, capped):
        assert run(plan, "main", "branch-v1")
    assert {found.rows for found in curve(capped).values()} == {3}
    for (step, version), found in curve(capped).items():
        losses, first = (
            read_row_losses(
                plan.layout.path("main").row_losses(step, version), curve(plan)[step, version].row_losses_sha256
            )
            for plan in (whole, capped)
        )
        assert losses is not None
        assert first is not None
        np.testing.assert_allclose(first, losses[:3], rtol=1e-6)
        assert found.loss == pytest.approx(sum(first) / 3, rel=1e-6)
    branch = raw_evaluations(records(capped, "branch-v1"))
    assert {found.rows for found in branch.values()} == {capped.heldout_rows("v1"), capped.heldout_rows("v2")}
    for (step, version), found in branch.items():
        losses = read_row_losses(capped.layout.path("branch-v1").row_losses(step, version), found.row_losses_sha256)
        assert losses is not None
        assert found.first_rows == {"rows": 3, "loss": pytest.approx(sum(losses[:3]) / 3, rel=1e-6)}
    assert {found.first_rows for found in raw_evaluations(records(whole, "branch-v1")).values()} == {None}


def test_the_losses_of_sequences_are_those_of_a_plain_model(make: Make) -> None:
    plan = make("schedule.peak_lr=1e-30", "schedule.warmup_steps=1", "optimizer.weight_decay=0")
    assert run(plan, "main", "branch-v1")
    model = build_placed(model_config(plan.config.model), plan.config.seed, Placement(), loaded=False).eval()
    for version in ("v1", "v2"):
        source = open_source(plan.heldout[version], plan.config.data, seed=0)
        ids = torch.from_numpy(source.read(np.arange(plan.heldout_rows(version))).astype(np.int64))
        with torch.no_grad():
            expected = [float(model(input_ids=row[None], labels=row[None]).loss) for row in ids]
        for name, step in (("main", 8), ("branch-v1", 20)):
            found = raw_evaluations(records(plan, name))[step, version]
            losses = read_row_losses(plan.layout.path(name).row_losses(step, version), found.row_losses_sha256)
            assert losses is not None
            np.testing.assert_allclose(losses, expected, rtol=1e-5)
            assert found.loss == pytest.approx(sum(expected) / len(expected), rel=1e-5)


def test_saved_states_can_be_evaluated_afterwards(make: Make) -> None:
    straight = make("evaluation.main_every_steps=5", "checkpoint.keep_last=20", runs="straight")
    assert run(straight, "main")
    plan = make(OFF, "checkpoint.keep_last=20")
    assert not run(plan, "main", stop_after=17)
    assert curve(plan) == {}
    layout = plan.layout.path("main")
    before = [saved.step for saved in complete_checkpoints(layout.checkpoints)]
    assert run(plan, "main", train=False, saved_steps=(5, 10))
    assert steps(plan) == [5, 10]
    assert [saved.step for saved in complete_checkpoints(layout.checkpoints)] == before, "an unfinished path keeps them"
    assert state_of(plan) == "interrupted"
    assert run(plan, "main", train=False, saved_steps="all")
    assert steps(plan) == [5, 8, 10, 15, 17]
    attempts = total(records(plan)).attempts
    assert run(plan, "main", train=False, saved_steps="all"), "nothing is left to do"
    assert total(records(plan)).attempts == attempts
    for key in ((step, version) for step in (5, 8, 10, 15) for version in ("v1", "v2")):
        assert curve(plan)[key] == curve(straight)[key]
    assert run(plan, "main")
    assert audit_run(plan.layout.run_dir).ok
    assert total(records(plan)).spent.steps == 28


def test_a_step_without_a_state_is_an_error_that_names_those_with_one(make: Make) -> None:
    plan = make(OFF)
    with pytest.raises(CheckpointError, match="main has no saved state; `lrps run` trains it"):
        run(plan, "main", train=False, saved_steps="all")
    assert not plan.layout.path("main").path_json.exists()
    assert not run(plan, "main", stop_after=11)
    with pytest.raises(CheckpointError, match="no saved state of step 6; it has those of steps 5, 8, 10, 11"):
        run(plan, "main", train=False, saved_steps=(8, 6))
    assert curve(plan) == {}


def test_a_merge_leaves_the_state_at_its_step_to_the_curve(make: Make) -> None:
    """The merge is another model: the state itself is evaluated too, to compare them."""
    plan = make("evaluation.main_every_steps=10", "paradigms={path-switching: {release: merge}}")
    assert set(main_curve(plan, plan.graph.by_name["main"])) == {10, 20, 30, 40}
