"""`lrps export` as a person types it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from lrps.base.errors import CheckpointError, ConfigError
from lrps.cli import app
from lrps.ledger.reader import read_ledger
from lrps.plan.plan import Plan
from lrps.store.checkpoints import find


def export(config: Path, plan: Plan, *words: str) -> list[str]:
    """The lines that it prints."""
    command = ["export", str(config), *words, "-s", f"runs={plan.config.runs}"]
    return CliRunner().invoke(app, command, catch_exceptions=False).stdout.splitlines()


def test_paths_a_version_and_a_second_time(trained_run: Path, plan: Plan) -> None:
    place = {name: plan.layout.path(name).model for name in ("branch-v1", "branch-v2", "cpt-v2")}
    (line,) = export(trained_run, plan, "branch-v2")
    assert line.startswith(f"branch-v2 at step 40: {place['branch-v2']} (")
    assert line.endswith("kB, fp32)")
    lines = export(trained_run, plan, "--version", "v2")
    assert lines[0] == f"branch-v2 at step 40: {place['branch-v2']} (was there already)"
    assert lines[1].startswith(f"cpt-v2 at step 40: {place['cpt-v2']} (")
    assert len(export(trained_run, plan, "branch-v1", "branch-v2")) == 2


def test_an_undecayed_branch_point_in_another_form_and_place(trained_run: Path, plan: Plan, tmp_path: Path) -> None:
    out = tmp_path / "new" / "undecayed"
    words = ("main", "--step", "28", "--out", str(out), "--max-shard-size", "10kB")
    (line,) = export(trained_run, plan, *words, "--dtype", "bf16")
    assert line.endswith("kB, bf16)")
    assert AutoModelForCausalLM.from_pretrained(out).dtype == torch.bfloat16
    assert len(list(out.glob("model-*.safetensors"))) > 1
    with pytest.raises(CheckpointError, match="--force to replace it"):
        export(trained_run, plan, *words)
    (line,) = export(trained_run, plan, *words, "--force")
    assert line.endswith("kB, fp32)")


def test_the_mean_of_saved_states(
    trained_run: Path, plan: Plan, truth: Callable[[Plan, str, int], torch.nn.Module]
) -> None:
    words = ("main", "--merge", "--window", "1", "--count", "2")
    (line,) = export(trained_run, plan, *words)
    directory = plan.layout.path("main").model_of(28, "merge")
    assert line.startswith(f"main at step 28, merge of 2 states: {directory} (")
    (line,) = export(trained_run, plan, *words, "--step", "28")
    assert line.endswith("(was there already)")
    states = [truth(plan, "main", step).state_dict() for step in (8, 28)]
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).state_dict()
    assert model.keys() == states[0].keys()
    for name, values in model.items():
        assert torch.equal(values, torch.stack([each[name].double() for each in states]).mean(0).float())
    facts = json.loads((directory / "lrps.json").read_text())
    averaged = [[step, find(plan.layout.path("main"), step).digest] for step in (8, 28)]
    assert (facts["form"], facts["merged"], facts["state"]["merged"]) == ("merge", averaged, averaged)
    assert (facts["versions"], facts["heldout"]) == ([], [])
    card = (directory / "README.md").read_text()
    assert "**Not a release.** The plain mean of the weights of 2 states of path `main` of the plan" in card
    assert all(f"| {step} | `{digest}` |" in card for step, digest in averaged)
    booked = [record for record in read_ledger(plan.layout.ledger) if record.kind == "export"]
    assert [(record.facts["path"], record.facts["form"]) for record in booked] == [("main", "merge")]
    (line,) = export(trained_run, plan, "main", "--step", "28")
    assert "model-step-00000028" in line, "the state itself is another model"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("main", "--merge"),
            "1 saved state in steps 26 to 28 (28), and --count asks for 10; all its saved steps: 8, 28",
        ),
        (("main", "--merge", "--count", "2"), "Give --window 0.75. For later merges set release: merge"),
        (("main", "--merge", "--window", "1"), "Give --count 2. For later merges"),
        (("main", "--merge", "--step", "9"), "main has no saved state of step 9; its saved steps: 8, 28"),
        (("main", "--merge", "--window", "2"), "--window 2: give a share of the steps so far"),
        (("main", "--merge", "--count", "1"), "--count 1: a merge averages at least 2 states"),
        (("main", "--count", "2"), "options of --merge"),
        (("branch-v2", "--merge"), "averages states of a main path"),
        (("--version", "v2", "--merge"), "--merge takes the name of a main path"),
    ],
)
def test_a_merge_that_is_not_possible(trained_run: Path, plan: Plan, words: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        export(trained_run, plan, *words)


def test_the_window_that_is_named_has_enough_states(trained_run: Path, plan: Plan) -> None:
    (line,) = export(trained_run, plan, "main", "--merge", "--count", "2", "--window", "0.75")
    assert "merge of 2 states" in line
