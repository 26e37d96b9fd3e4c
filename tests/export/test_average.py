"""`lrps export CONFIG main --ema`: the averaged weights of a saved state, and what the card says about them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from lrps.base.errors import CheckpointError, ConfigError
from lrps.cli import app
from lrps.config.loader import load_config
from lrps.engine.state_files.reading import open_state
from lrps.ledger.reader import read_ledger
from lrps.plan.plan import Plan, make_plan
from lrps.store.checkpoints import find
from support.plain_engine import run

SETTINGS = (
    "average={ema: {horizon: 0.5}}",
    "paradigms={path-switching: {alpha: 0.6, release_first: false}}",
    "checkpoint={every_steps: 5, keep_every_steps: 5}",
)


@pytest.fixture(scope="module")
def settings(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """The overrides of a plan whose main path is trained: until step 7 without an average."""
    runs = f"runs={tmp_path_factory.mktemp('averaged')}"
    assert not run(make_plan(load_config(tiny_config, [runs, *SETTINGS[1:]])), "main", stop_after=7)
    assert run(make_plan(load_config(tiny_config, [runs, *SETTINGS])), "main")
    return runs, *SETTINGS


@pytest.fixture
def plan(tiny_config: Path, settings: tuple[str, ...]) -> Plan:
    return make_plan(load_config(tiny_config, list(settings)))


def call(config: Path, settings: tuple[str, ...], *words: str) -> list[str]:
    """The lines that a verb prints."""
    verb, *arguments = words
    command = [verb, str(config), *arguments, *(word for setting in settings for word in ("-s", setting))]
    return CliRunner().invoke(app, command, catch_exceptions=False).output.splitlines()


def test_the_export_is_the_average_and_says_so(tiny_config: Path, settings: tuple[str, ...], plan: Plan) -> None:
    layout = plan.layout.path("main")
    (line,) = call(tiny_config, settings, "export", "main", "--ema", "--step", "20", "--dtype", "fp32")
    directory = layout.model_of(20, "ema")
    assert line.startswith(f"main at step 20, EMA: {directory} (")
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).state_dict()
    with open_state(find(layout, 20).directory) as state:
        for name in state.shapes:
            assert torch.equal(model[name], state.read(name, "ema"))
            assert not torch.equal(model[name], state.read(name))
    facts = json.loads((directory / "lrps.json").read_text())
    assert facts["average"] == {"horizon": 0.5, "every": 10, "since": 7}
    assert (facts["form"], facts["state"]["form"]) == ("ema", "ema")
    assert [each["heldout"] for each in facts["heldout"]] == ["v1", "v2"]
    card = (directory / "README.md").read_text()
    assert "**Not a release.** The exponential moving average of the weights of path `main`" in card
    assert "Form `ema`" in card
    assert "horizon 0.5" in card
    assert "at step 7, and was updated every 10 steps" in card
    booked = [record.facts for record in read_ledger(plan.layout.ledger) if record.kind == "export"]
    assert [each["form"] for each in booked] == ["ema"]


def test_weights_and_average_of_one_step_do_not_replace_each_other(
    tiny_config: Path, settings: tuple[str, ...], plan: Plan, tmp_path: Path
) -> None:
    place = ("--out", str(tmp_path / "model"))
    (line,) = call(tiny_config, settings, "export", "main", "--ema", "--step", "15", *place)
    assert line.startswith("main at step 15, EMA: ")
    (line,) = call(tiny_config, settings, "export", "main", "--ema", "--step", "15", *place)
    assert line.endswith("(was there already)")
    with pytest.raises(CheckpointError, match="--force to replace it"):
        call(tiny_config, settings, "export", "main", "--step", "15", *place)
    (line,) = call(tiny_config, settings, "export", "main", "--step", "15", *place, "--force")
    assert line.startswith("main at step 15: ")
    facts = json.loads((tmp_path / "model" / "lrps.json").read_text())
    assert (facts["form"], facts["average"], "form" in facts["state"]) == ("raw", None, False)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("main", "--ema", "--step", "9"),
            "main has no saved state of step 9; its saved steps: 5, 10, 15, 20, 25, 28",
        ),
        (("branch-v2", "--ema"), "only main paths average their weights, and branch-v2 is none"),
        (("main", "--ema", "--merge"), "--ema and --merge are two forms of a model; give one"),
        (("--version", "v2", "--ema"), "--ema takes the name of a main path"),
    ],
)
def test_an_average_that_does_not_exist(
    tiny_config: Path, settings: tuple[str, ...], words: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        call(tiny_config, settings, "export", *words)


def test_a_state_from_before_the_average(tiny_config: Path, settings: tuple[str, ...]) -> None:
    with pytest.raises(CheckpointError, match="step-00000005 has no moving average of the weights"):
        call(tiny_config, settings, "export", "main", "--ema", "--step", "5")


def test_the_universal_format_leaves_it_out_and_says_so(
    tiny_config: Path, settings: tuple[str, ...], tmp_path: Path
) -> None:
    options = [word for setting in settings for word in ("-s", setting)]
    command = ["convert", "to-universal", str(tiny_config), "main", str(tmp_path), "--step", "10", *options]
    told = CliRunner().invoke(app, command, catch_exceptions=False).output
    assert "left out: the average of the weights" in told
    assert {file.name for file in tmp_path.rglob("zero/*/*.pt")} == {
        "fp32.pt", "exp_avg.pt", "exp_avg_sq.pt", "step.pt",
    }  # fmt: skip
