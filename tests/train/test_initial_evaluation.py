"""Row 0: the model that a plan starts from is evaluated once, before step 0, and changes nothing that is trained."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from lrps.audit.run import audit_run
from lrps.base.locks import path_lock
from lrps.config.loader import load_config
from lrps.costs.comparison import make_comparison
from lrps.data.open_source import open_source
from lrps.ledger.reader import read_ledger
from lrps.ledger.records import Record
from lrps.ledger.totals import total
from lrps.plan.plan import Plan, make_plan
from lrps.plan.status import plan_status
from lrps.store.checkpoints import find
from lrps.store.identity import weights_digest
from support.plain_engine import run
from support.synthetic_run import rewrite

Make = Callable[..., Plan]


def save_model(directory: Path, seed: int) -> Path:
    sizes = {"vocab_size": 257, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    torch.manual_seed(seed)
    others = {"num_attention_heads": 2, "max_position_embeddings": 64, "eos_token_id": 0}
    config = LlamaConfig(**sizes, **others, initializer_range=0.3)
    LlamaForCausalLM(config).save_pretrained(directory)
    return directory


@pytest.fixture
def bought(tmp_path: Path) -> Path:
    return save_model(tmp_path / "bought", seed=3)


@pytest.fixture
def make(tiny_config: Path, tmp_path: Path, bought: Path) -> Make:
    """make("key=value", ..., runs="runs") -> the tiny plan from the bought model, with its run below tmp_path."""

    def make(*settings: str, runs: str = "runs", model: str = f"{{checkpoint: {bought}}}") -> Plan:
        return make_plan(load_config(tiny_config, [f"model={model}", f"runs={tmp_path / runs}", *settings]))

    return make


def records(plan: Plan, name: str) -> list[Record]:
    return list(read_ledger(plan.layout.path(name).ledger))


def at_step_0(plan: Plan, name: str) -> dict[str, dict[str, Any]]:
    """Return held-out version -> facts of the newest evaluation of the initial model in a path's ledger."""
    return {r.facts["heldout"]: r.facts for r in records(plan, name) if (r.kind, r.step) == ("evaluation", 0)}


def loss_of(model: Path, plan: Plan, version: str) -> float:
    """Return the held-out loss of a Hugging Face model, computed without lrps' evaluation."""
    source = open_source(plan.heldout[version], plan.config.data, seed=0)
    ids = torch.from_numpy(source.read(np.arange(plan.heldout_rows(version))).astype(np.int64))
    with torch.no_grad():
        logits = AutoModelForCausalLM.from_pretrained(model)(input_ids=ids).logits
    flat = torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, logits.shape[-1]), ids[:, 1:].reshape(-1))
    return float(flat)


def test_the_given_model_is_evaluated_before_step_0_and_once_for_the_plan(make: Make, bought: Path) -> None:
    plan = make()
    assert run(plan, "main", "branch-v1", "branch-v2", "straight-v1")
    found = at_step_0(plan, "main")
    assert list(found) == ["v1", "v2"]
    for version, facts in found.items():
        assert facts["loss"] == pytest.approx(loss_of(bought, plan, version), rel=1e-5)
        assert (facts["initial_weights"], facts["rows"]) == (weights_digest(bought), plan.heldout_rows(version))
    kinds = [record.kind for record in records(plan, "main")]
    assert kinds[:4] == ["start", "evaluation", "evaluation", "heartbeat"]
    assert total(records(plan, "main")).spent.evaluating_seconds > 0
    assert [at_step_0(plan, name) for name in ("branch-v1", "straight-v1")] == [{}, {}]
    assert audit_run(plan.layout.run_dir).ok
    matrix = make_comparison(plan).paradigms["path-switching"].matrices["loss"]
    assert matrix.initial == {version: facts["loss"] for version, facts in found.items()}
    assert matrix.change_since_initial == pytest.approx(
        sum(matrix.scores["v2"][version] - facts["loss"] for version, facts in found.items()) / 2
    )


def test_the_evaluation_changes_no_bit_of_what_is_trained(make: Make) -> None:
    with_it, without = make(), make(runs="other")
    assert run(with_it, "main")
    assert run(without, "straight-v1"), "it evaluates the model"
    assert run(without, "main")
    assert (list(at_step_0(with_it, "main")), at_step_0(without, "main")) == (["v1", "v2"], {})
    one, other = (find(plan.layout.path("main"), 28) for plan in (with_it, without))
    assert one.manifest["digest"] == other.manifest["digest"]


@pytest.mark.parametrize("steps", [2, 6], ids=["nothing saved", "resumed"])
def test_an_attempt_that_follows_does_not_evaluate_it_again(make: Make, steps: int) -> None:
    plan = make("checkpoint={every_steps: 5}")
    assert not run(plan, "main", stop_after=steps)
    assert run(plan, "main")
    of_step_0 = [r for r in records(plan, "main") if (r.kind, r.step) == ("evaluation", 0)]
    assert len(of_step_0) == 2


def test_a_run_that_was_finished_without_it_stays_finished_and_evaluate_takes_it(make: Make, bought: Path) -> None:
    plan = make("paradigms={path-switching: {alpha: 0.6}}")
    assert run(plan, "main", "branch-v1", "branch-v2")
    ledger = plan.layout.path("main").ledger
    rewrite(ledger, lambda _, record: None if (record.kind, record.step) == ("evaluation", 0) else record)
    before = make_comparison(plan)
    assert {status.state for status in plan_status(plan)} == {"complete"}
    assert before.initial_heldout == {}
    assert run(plan, "main")
    assert len(list(ledger.iterdir())) == 1, "there is nothing to do"

    assert run(plan, "main", train=False)
    assert at_step_0(plan, "main")["v2"]["loss"] == pytest.approx(loss_of(bought, plan, "v2"), rel=1e-5)
    assert [(r.kind, r.step) for r in records(plan, "main")][-4:] == [
        *(("start", 28), ("evaluation", 0), ("evaluation", 0)),
        ("stop", 0),
    ]
    assert {status.state for status in plan_status(plan)} == {"complete"}
    audit = audit_run(plan.layout.run_dir)
    assert (audit.ok, audit.spare_steps) == (True, 0)
    assert {lineage.path: lineage.stop for lineage in audit.lineages}["main"] == 28
    after = make_comparison(plan)
    assert list(after.initial_heldout or {}) == ["v1", "v2"]
    assert after.graph.measured is not None
    assert before.graph.measured is not None
    assert after.graph.measured.total_steps == before.graph.measured.total_steps
    assert run(plan, "main", train=False)
    assert len(list(ledger.iterdir())) == 2, "it is not taken again"


def test_evaluate_takes_row_0_and_what_releases_lack_from_their_own_states(make: Make, bought: Path) -> None:
    plan = make("paradigms={straight: {kind: ptfs}}")
    assert run(plan, "straight-v1")
    ledger = plan.layout.path("straight-v1").ledger
    released = {r.facts["heldout"]: r.facts["loss"] for r in records(plan, "straight-v1") if r.kind == "evaluation"}
    rewrite(ledger, lambda _, record: None if record.kind == "evaluation" else record)
    assert run(plan, "straight-v1", train=False)
    later = [r for r in records(plan, "straight-v1") if r.kind == "evaluation"]
    assert [r.step for r in later] == [0, 0, 20, 20]
    assert {r.facts["heldout"]: r.facts["loss"] for r in later[2:]} == released
    assert later[0].facts["loss"] == pytest.approx(loss_of(bought, plan, "v1"), rel=1e-5)


def test_another_model_is_evaluated_anew_where_nothing_was_saved(make: Make, bought: Path) -> None:
    plan = make()
    assert not run(plan, "main", stop_after=2), "a request to stop saves"
    for step in ("checkpoints", "branch_points"):
        for directory in (plan.layout.path("main").directory / step).glob("step-*"):
            directory.rename(directory.with_name(f".gone-{directory.name}"))
    rewrite(plan.layout.path("main").ledger, lambda _, record: None if record.kind == "checkpoint" else record)
    first = at_step_0(plan, "main")
    save_model(bought, seed=4)
    assert run(plan, "main")
    found = at_step_0(plan, "main")
    assert found["v1"]["initial_weights"] == weights_digest(bought) != first["v1"]["initial_weights"]
    assert found["v1"]["loss"] == pytest.approx(loss_of(bought, plan, "v1"), rel=1e-5)
    assert (make_comparison(plan).initial_heldout or {})["v1"].loss == found["v1"]["loss"] != first["v1"]["loss"]


def test_a_version_that_comes_later_is_evaluated_by_the_next_path_that_starts_from_it(
    make: Make, tiny_config: Path
) -> None:
    assert run(make(), "main")
    text = [str(tiny_config.parent / "v3.jsonl")]
    plan = make(f"data.versions.2={{name: v3, text: {text}, tokens: 1280}}")
    assert run(plan, "main"), "it continues, from its own state"
    assert list(at_step_0(plan, "main")) == ["v1", "v2"]
    assert run(plan, "straight-v3")
    assert list(at_step_0(plan, "straight-v3")) == ["v3"]
    assert list(make_comparison(plan).initial_heldout or {}) == ["v1", "v2", "v3"]


def test_of_paths_that_start_together_the_first_evaluates_it(make: Make) -> None:
    plan = make()
    with path_lock(plan.layout.path("main").directory):
        assert not run(plan, "straight-v1", stop_after=1)
    assert at_step_0(plan, "straight-v1") == {}
    with path_lock(plan.layout.path("straight-v2").directory):
        assert not run(plan, "main", stop_after=1)
    assert list(at_step_0(plan, "main")) == ["v1", "v2"]


def test_a_state_of_another_run_is_evaluated_as_it_was_saved(make: Make, bought: Path) -> None:
    donor = make(runs="donor")
    assert run(donor, "main", "branch-v1")
    state = find(donor.layout.path("branch-v1"), 20)
    sizes = "vocab_size: 257, hidden_size: 16, intermediate_size: 32, num_hidden_layers: 1, num_attention_heads: 2"
    architecture = f"{{model_type: llama, {sizes}, max_position_embeddings: 64}}"
    plan = make(model=f"{{architecture: {architecture}, initial_state: {state.directory}}}")
    assert run(plan, "main")
    released = {r.facts["heldout"]: r.facts["loss"] for r in records(donor, "branch-v1") if r.kind == "evaluation"}
    found = at_step_0(plan, "main")
    assert {version: facts["loss"] for version, facts in found.items()} == pytest.approx(released, rel=1e-6)
    assert {facts["initial_weights"] for facts in found.values()} == {state.manifest["digest"]}
    first = next(r for r in records(plan, "main") if r.kind == "heartbeat")
    assert math.isfinite(first.facts["loss"])


def test_drawn_weights_are_not_evaluated(tiny_config: Path, tmp_path: Path) -> None:
    plan = make_plan(load_config(tiny_config, [f"runs={tmp_path / 'runs'}"]))
    assert run(plan, "main")
    assert run(plan, "main", train=False)
    assert at_step_0(plan, "main") == {}
    assert len(list(plan.layout.path("main").ledger.iterdir())) == 1
    assert make_comparison(plan).initial_heldout is None
