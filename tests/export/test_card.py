"""The card says what the run directory says, in front matter that the Hub reads and in numbers that can be checked."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import yaml

from lrps.export.card import card_document, render_card
from lrps.export.states import chosen_states
from lrps.ledger.check import check_run
from lrps.ledger.records import Record
from lrps.paths.amendments import Amendment
from lrps.plan.plan import Plan
from lrps.plan.rewind import rewind
from lrps.store.checkpoints import find
from support.plain_engine import run
from support.synthetic_run import rewrite

MODEL = {"architecture": "LlamaForCausalLM", "model_type": "llama", "parameters": 12_345, "dtype": "bf16"}
PRICE = (
    "hardware={device: cpu, price_per_device_hour: {amount: 2.0, currency: EUR, source: our | form, date: 2026-01-31}}"
)


def document(plan: Plan, name: str, step: int | None = None) -> dict[str, Any]:
    (state,) = chosen_states(plan, [name], step=step)
    checkpoint = find(plan.layout.path(name), state.step)
    return card_document(plan, state, [checkpoint], plan.manifests["v1"].tokenizer, MODEL)


def test_the_lineage_and_its_data(plan: Plan) -> None:
    card = document(plan, "branch-v2")
    legs = [
        (leg["path"], leg["start_step"], leg["stop_step"], leg["lr_start"], leg["lr_stop"]) for leg in card["lineage"]
    ]
    assert legs == [("main", 0, 28, 0.0025, 0.01), ("branch-v2", 28, 40, 0.01, 0.0)]
    assert card["lineage"][0]["pieces"] == [
        {"shape": "warmup", "from_step": 0, "to_step": 4},
        {"shape": "constant", "from_step": 4, "to_step": 28},
    ]
    assert [(source["name"], source["read_rows"], source["rows"]) for source in card["data"]] == [
        ("v1", 80, 80),
        ("v2", 80, 80),
    ]
    assert [source["manifest_sha256"] for source in card["data"]] == [plan.manifests[v].sha256 for v in ("v1", "v2")]
    assert (card["step"], card["tokens"], card["versions"]) == (40, 40 * 64, ["v2"])
    assert card["paradigms"] == {"path-switching": "path-switching"}


def test_a_parent_that_was_trained_again_is_named(plan: Plan) -> None:
    def fork_names(digest: str) -> None:
        def name(_: int, record: Record) -> Record:
            parent = {"path": "main", "step": 28, "digest": digest}
            return record._replace(facts={**record.facts, "parent": parent} if record.kind == "start" else record.facts)

        rewrite(plan.layout.path("branch-v2").ledger, name)

    fork_names(find(plan.layout.path("main"), 28).digest)
    same = document(plan, "branch-v2")
    assert same["other_parents"] == {}
    assert "is not the history of this" not in render_card(same)
    fork_names("another")
    other = render_card(document(plan, "branch-v2"))
    assert "**branch-v2 was forked from another state of main than the one that main has at step 28 now:**" in other


def test_losses_and_costs_are_those_of_the_ledger(make: Callable[..., Plan]) -> None:
    plan = make(PRICE)
    card = document(plan, "branch-v2")
    assert [(one["heldout"], one["loss"], one["trained"]) for one in card["heldout"]] == [
        ("v1", 2.5, True),
        ("v2", 3.5, True),
    ]
    cost = card["cost"]
    assert [leg["device_hours"] for leg in cost["legs"]] == pytest.approx([0.28, 0.12]), (
        "the whole of main up to the fork"
    )
    (ledger,) = (check for check in check_run(plan.layout.run_dir) if check.path == "branch-v2")
    assert cost["legs"][-1]["ledger_sha256"] == ledger.last_sha256
    assert cost["device_hours"] == pytest.approx(0.4)
    assert cost["money"] == pytest.approx(0.8)
    assert cost["spent_tokens"] == 40 * 64
    first = document(make(), "branch-v1")
    assert [leg["device_hours"] for leg in first["cost"]["legs"]] == pytest.approx([0.08, 0.12]), (
        "main until step 8 only"
    )
    assert [(one["heldout"], one["trained"]) for one in first["heldout"]] == [("v1", True), ("v2", False)]
    assert first["cost"]["money"] is None


def test_front_matter_is_what_the_hub_reads(plan: Plan) -> None:
    text = render_card(document(plan, "branch-v2"))
    _, front, body = text.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["lrps", "llama", "learning-rate-path-switching"],
    }
    assert body.strip().startswith("# tiny v2 (branch-v2, step 40)")
    assert yaml.safe_load(render_card(document(plan, "cpt-v1")).split("---\n")[1])["tags"] == ["lrps", "llama"]


def test_the_text_holds_every_hash_and_number(make: Callable[..., Plan]) -> None:
    plan = make(PRICE)
    card = document(plan, "branch-v2")
    text = render_card(card)
    hashes = [plan.manifests["v1"].sha256, plan.manifests["v2"].sha256, plan.heldout["v1"].sha256]
    for told in (*hashes, card["tokenizer"]["sha256"], card["checkpoint"]["digest"], plan.training_sha256):
        assert f"`{told}`" in text
    for told in (
        "12,345 parameters",
        "40 steps on 2,560 tokens",
        "rounded from fp32",
        "drawn from the seed",
        "| branch-v2 | main at step 28 | 28 to 40 | 0.01 to 0 | linear 28 to 40 |",
        "| v1 | 2.5000 | 1.2500 | 7 |",
        "torch 2.13.0",
        "Priced: 0.8 EUR, at 2.0 EUR per device-hour (our | form, 2026-01-31)",
    ):
        assert told in text, told
    assert not re.search(r"None|\{\{|/tmp", text)
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1, table


def test_an_undecayed_state_says_so(plan: Plan) -> None:
    text = render_card(document(plan, "main", 28))
    assert "**Not a release.**" in text
    assert "Its learning rate is\n0.01, 100.0% of the peak" in text
    assert "This state was not evaluated." in text
    assert "Not a release" not in render_card(document(plan, "branch-v2"))


def test_the_peak_rate_is_that_of_the_path_and_another_order_seed_is_named(make: Callable[..., Plan]) -> None:
    made = document(make("paradigms.path-switching.peak_lr=0.02", "data.order_seed=5"), "branch-v2")
    assert made["learning_rate"]["peak"] == 0.02
    text = render_card(made)
    assert "| peak learning rate | 0.02 |" in text
    assert f"| seed | {made['seed']}, of the order of sequences 5 |" in text


def test_what_was_not_measured_is_not_made_up(plan: Plan) -> None:
    for file in plan.layout.path("main").ledger.iterdir():
        file.unlink()
    card = document(plan, "branch-v2")
    assert card["cost"]["device_hours"] is None
    text = render_card(card)
    assert "| main | not measured |" in text
    assert "| **lineage** | | | n/a | n/a | n/a |" in text


def test_a_state_that_another_trainer_wrote_is_named(plan: Plan) -> None:
    origin = {"tag": "global_step480_universal", "deepspeed": "0.19.8", "sha256": "f" * 64}
    card = {**document(plan, "main", 8), "initial_weights": "a" * 64, "initial_state": {"step": 480, "origin": origin}}
    lineage = render_card(card).split("## Lineage")[1].split("## Data")[0]
    assert f"optimizer state of a checkpoint from elsewhere, digest `{'a' * 64}`:" in lineage
    assert (
        f"step 480 in `global_step480_universal`, which DeepSpeed 0.19.8 wrote, SHA-256 of its files `{'f' * 64}`."
        in lineage
    )
    assert "the initial weights" not in lineage
    assert "None" not in render_card({**card, "initial_state": {"step": 480, "origin": {**origin, "deepspeed": None}}})


def test_what_a_rewind_changed_is_on_the_card(make: Callable[..., Plan]) -> None:
    plan = make()
    rewind(plan, "main", Amendment(8, skip=2, peak_lr=0.005, clip_grad_norm=0.5, reason="spike"))
    assert run(replace(plan), "main")
    card = document(replace(plan), "main", 28)
    assert [(each["path"], each["number"], each["at"]) for each in card["amendments"]] == [("main", 1, 8)]
    text = render_card(card)
    assert (
        f"**main was taken back to step 8** on {card['amendments'][0]['when']} (spike), and trained from there at a "
        "peak learning rate of 0.005, with the gradient norm clipped at 0.5."
    ) in text
    assert text.count("changed as said under Lineage") == 2
    assert document(replace(plan), "main", 8)["amendments"] == [], "the state of that step is of the older history"


def test_a_branch_from_before_an_amendment_is_marked_as_such(make: Callable[..., Plan]) -> None:
    plan = make()
    assert run(plan, "main", "branch-v1", "branch-v2")
    rewind(plan, "main", Amendment(8, peak_lr=0.005))
    assert run(replace(plan), "main")
    card = document(replace(plan), "branch-v2")
    assert card["other_parents"] == {"branch-v2": "forked from main before its amendment 1"}
    assert "**branch-v2 was forked from main before its amendment 1:** what this table" in render_card(card)
    assert card["amendments"] == [], "its own history is that of before"
    assert "amendment" not in render_card(document(replace(plan), "branch-v1"))
