"""Models of paths: drawn as the run has drawn before, in parts where the type allows it, and not at all for a state."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from lrps.config.loader import load_config
from lrps.engine.build.placed_model import build_placed
from lrps.engine.build.placement import Placement
from lrps.engine.model import build_model
from lrps.engine.model_config import model_config
from lrps.paths.amendments import Amendment
from lrps.plan.plan import Plan, make_plan
from lrps.plan.rewind import rewind
from lrps.store.identity import read_identity
from lrps.train.path_models import PathModels
from support.plain_engine import run

APERTUS = {
    "model_type": "apertus", "vocab_size": 257, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1,
    "num_attention_heads": 2, "max_position_embeddings": 64,
}  # fmt: skip
LLAMA = {**APERTUS, "model_type": "llama"}
BEFORE = {"padding": "none"}
"""Conventions of a run that was begun before weights were drawn by module."""


def make(tiny_config: Path, runs: Path, **architecture: Any) -> Plan:
    settings = [f"model.architecture={json.dumps(architecture)}"] if architecture else []
    return make_plan(load_config(tiny_config, [f"runs={runs}", *settings]))


def built(plan: Plan, loaded: bool = False, placement: Placement | None = None) -> tuple[Any, list[str]]:
    """Return the model of the first path, and what was said."""
    said: list[str] = []
    return PathModels(plan, said.append).build(plan.graph.paths[0], placement or Placement(), loaded=loaded), said


def equal(one: Any, other: Any) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_a_new_plan_draws_by_module_and_names_it(tiny_config: Path, tmp_path: Path) -> None:
    plan = make(tiny_config, tmp_path)
    model, said = built(plan)
    config = plan.config
    assert said == []
    assert equal(model, build_placed(model_config(config.model), config.seed, Placement(), loaded=False))
    assert not equal(model, build_model(config.model, config.seed))
    assert plan.identity(plan.graph.paths[0])["training"]["initialisation"] == "by-module"


def test_a_run_that_drew_the_whole_model_keeps_doing_so_in_every_path_and_says_so(
    tiny_config: Path, tmp_path: Path
) -> None:
    begun = make(tiny_config, tmp_path)
    begun.__dict__["conventions"] = BEFORE
    run(begun, "main")
    file = begun.layout.path("main").path_json
    written = file.read_bytes()

    plan = make(tiny_config, tmp_path)
    model, said = built(plan)
    assert plan.conventions == BEFORE
    assert equal(model, build_model(plan.config.model, plan.config.seed))
    assert len(said) == 1
    assert "the run was begun when weights were drawn so" in said[0]
    run(plan, "branch-v1", "main")
    assert file.read_bytes() == written
    assert read_identity(plan.layout.path("branch-v1").path_json)["training"].items() >= BEFORE.items()
    assert "initialisation" not in read_identity(plan.layout.path("branch-v1").path_json)["training"]


@pytest.mark.parametrize("loaded", [False, True])
def test_a_type_that_cannot_be_built_in_parts_is_built_whole_and_said(
    tiny_config: Path, tmp_path: Path, loaded: bool
) -> None:
    plan = make(tiny_config, tmp_path, **APERTUS)
    model, said = built(plan, loaded)
    assert equal(model, build_model(plan.config.model, plan.config.seed))
    assert len(said) == 1
    assert "this apertus model cannot be built in parts, as its initialisation does not set" in said[0]


def test_a_run_that_is_taken_back_to_its_start_draws_as_it_began(tiny_config: Path, tmp_path: Path) -> None:
    begun = make(tiny_config, tmp_path)
    begun.__dict__["conventions"] = {}
    run(begun, "main", stop_after=8)
    file = begun.layout.path("main").path_json
    training = read_identity(file)["training"]
    plan = make(tiny_config, tmp_path)
    rewind(plan, "main", Amendment(0))

    plan = make(tiny_config, tmp_path)
    assert plan.conventions == {}
    assert equal(built(plan)[0], build_model(plan.config.model, plan.config.seed))
    run(plan, "main", stop_after=8)
    assert read_identity(file)["training"] == training


@pytest.mark.parametrize("conventions", [BEFORE, {}, None], ids=["drawn whole", "with padding rows", "newest"])
def test_weights_are_placeholders_for_a_state_and_nothing_is_said(
    tiny_config: Path, tmp_path: Path, conventions: dict[str, str] | None
) -> None:
    plan = make(tiny_config, tmp_path, **{**LLAMA, "vocab_size": 4099})
    if conventions is not None:
        plan.__dict__["conventions"] = conventions
    model, said = built(plan, loaded=True)
    assert said == []
    assert [(n, p.shape) for n, p in model.named_parameters()] == [
        (n, p.shape) for n, p in build_model(plan.config.model, 0).named_parameters()
    ]
    for drawn in (build_model(plan.config.model, plan.config.seed), built(make(tiny_config, tmp_path))[0]):
        assert not torch.equal(model.model.embed_tokens.weight[:257], drawn.model.embed_tokens.weight[:257])
