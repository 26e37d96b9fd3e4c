"""Versions that are the moving average of the main path's weights, and forms of one state side by side."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from lrps.base.errors import ConfigError, LineageError
from lrps.config.loader import load_config
from lrps.costs.comparison import make_comparison
from lrps.engine.state_files.reading import open_state
from lrps.export.release import ExportFormat, export_state
from lrps.export.states import chosen_states
from lrps.ledger.reader import EvaluationKey, evaluations, read_ledger
from lrps.plan.plan import Plan, make_plan
from lrps.plan.prune import prune_run
from lrps.plan.released_state import checkpoint_digest
from lrps.plan.status import path_status
from lrps.store.checkpoints import find
from support.plain_engine import run

Make = Callable[..., Plan]
ON = "average={ema: {}}"


@pytest.fixture
def make(tiny_config: Path, tmp_path: Path) -> Make:
    """make("key=value", ...) -> the tiny plan with its run below tmp_path: 20 steps a version."""
    return lambda *settings: make_plan(load_config(tiny_config, [f"runs={tmp_path / 'runs'}", *settings]))


def switching(**per_version: str) -> str:
    chosen = ", ".join(f"{version}: {release}" for version, release in per_version.items())
    return f"paradigms={{path-switching: {{release_per_version: {{{chosen}}}}}}}"


def test_versions_are_averages_of_the_main_path(make: Make) -> None:
    plan = make(ON, switching(v1="ema", v2="ema"))
    assert run(plan, "main")
    main = path_status(plan, plan.graph.by_name["main"])
    assert main.state == "complete"
    layout = plan.layout.path("main")
    found = evaluations(read_ledger(layout.ledger))
    (v1, v2) = make_comparison(plan).paradigms["path-switching"].releases
    assert [each.label for each in (v1, v2)] == ["v1 (EMA)", "v2 (EMA)"]
    assert v2.heldout["v1"].loss == found[EvaluationKey(40, "v1", "ema")].loss != found[EvaluationKey(40, "v1")].loss
    state = chosen_states(plan, ["main"], "v2")[0]
    directory = state.directory(layout)
    assert directory.name == "model-ema-step-00000040"
    export_state(plan, state, directory, ExportFormat("fp32"))
    model = AutoModelForCausalLM.from_pretrained(directory).state_dict()
    with open_state(find(layout, 40).directory) as saved:
        for name in saved.shapes:
            assert torch.equal(model[name], saved.read(name, "ema"))


def test_a_state_without_an_average_is_not_released_as_one(make: Make) -> None:
    assert run(make("data.versions=[{name: v1, tokens: 1280}]", switching(v1="main")), "main")
    with pytest.raises(
        LineageError, match="v1 is the moving average of main at step 20, and its average begins at step 20"
    ):
        run(make(ON, switching(v1="ema", v2="ema")), "main")
    plan = make(ON, switching(v1="main", v2="ema"))
    assert run(plan, "main"), "the average has reached its horizon of 10 steps by step 40"
    assert path_status(plan, plan.graph.by_name["main"]).state == "complete"


def test_an_average_that_is_released_must_be_in_the_config(make: Make) -> None:
    with pytest.raises(ConfigError, match=r"release_per_version.v2: ema is the moving average .* add average: {ema"):
        make(switching(v2="ema"))


def test_the_forms_of_one_state_are_side_by_side(make: Make) -> None:
    forms = ("main", "ema", "merge")
    named = ", ".join(f"{form}: {{kind: path-switching, release: {form}}}" for form in forms)
    plan = make(ON, f"paradigms={{{named}}}")
    (path,) = plan.graph.paths
    assert run(plan, path.name)
    assert path_status(plan, path).state == "complete"
    found = make_comparison(plan).paradigms
    losses = [found[form].releases[1].heldout["v2"].loss for form in forms]
    assert len(set(losses)) == 3
    assert [found[form].releases[1].step for form in forms] == [40, 40, 40]
    layout = plan.layout.path(path.name)
    states = chosen_states(plan, [path.name], "v2")
    assert [each.directory(layout).name for each in states] == [
        "model-step-00000040",
        "model-ema-step-00000040",
        "model-merge-step-00000040",
    ]
    weights = []
    for state in states:
        export_state(plan, state, state.directory(layout), ExportFormat("fp32"))
        weights.append(AutoModelForCausalLM.from_pretrained(state.directory(layout)).state_dict()["lm_head.weight"])
    assert not any(torch.equal(one, other) for one, other in ((weights[0], weights[1]), (weights[0], weights[2])))
    digests = [checkpoint_digest(plan, path.name, 40, form) for form in ("raw", "ema", "merge")]
    assert digests[0] == digests[1] != digests[2]
    kept = {
        each.step: each.reason for each in prune_run(plan, dry_run=True).found if "branch_points" in str(each.directory)
    }
    assert (kept[40], kept[39]) == ("release v2, merge of v2", "merge of v2")
