"""`lrps convert` as a person types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from lrps.base.errors import CheckpointError
from lrps.cli import app
from lrps.config.loader import load_config
from lrps.engine.model import build_model
from lrps.engine.universal import write_universal
from lrps.plan.initial import initial_checkpoint
from lrps.plan.plan import make_plan
from lrps.store import checkpoints
from support.preloaded import run_lrps as lrps
from support.saved_run import write_saved_run


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    return write_saved_run(tmp_path)


def test_to_universal(config_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "universal"
    done = lrps("convert", "to-universal", str(config_file), "main", str(out))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(out / "global_step70_universal")
    lrps("convert", "to-universal", str(config_file), "main", str(out), "--step", "50")
    assert (out / "latest_universal").read_text() == "global_step50_universal"
    values = torch.load(out / "global_step50_universal" / "zero" / "weight" / "exp_avg.pt", weights_only=True)["param"]
    assert torch.equal(values, torch.full((2, 3), 50.0))
    states = torch.load(out / "global_step70_universal" / "mp_rank_00_model_states.pt", weights_only=True)
    assert (states["global_steps"], states["global_samples"]) == (70, 140)
    assert states["lrps"] == {"path": "main", "step": 70}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere", "OUT"], "the plan has no path nowhere; it has main, branch-v1"),
        (["main", "OUT", "--step", "55"], "complete are steps 50, 60, 70"),
        (["branch-v2", "OUT"], "branch-v2 has no intact checkpoint"),
        (["main", "OUT", "-s", "seed=9"], "was made by another plan"),
    ],
)
def test_to_universal_explains_what_it_cannot_do(
    arguments: list[str], told: str, config_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "universal"
    done = lrps("convert", "to-universal", str(config_file), *(word.replace("OUT", str(out)) for word in arguments))
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert told in done.stderr
    assert not out.exists()


def test_to_universal_finds_damage(config_file: Path, tmp_path: Path) -> None:
    newest = make_plan(load_config(config_file)).layout.path("main").checkpoints / "step-00000070"
    data = newest / "fragments-00000-of-00001.safetensors"
    content = bytearray(data.read_bytes())
    content[-1] ^= 1
    data.write_bytes(content)
    asked = lrps("convert", "to-universal", str(config_file), "main", str(tmp_path / "one"), "--step", "70")
    assert asked.returncode == 2
    assert "is damaged" in asked.stderr
    newest_intact = lrps("convert", "to-universal", str(config_file), "main", str(tmp_path / "two"))
    assert newest_intact.stdout.strip().endswith("global_step60_universal")


def test_from_universal_tells_what_a_config_starts_from(config_file: Path, tmp_path: Path) -> None:
    shapes = {name: list(p.shape) for name, p in build_model(load_config(config_file).model, 0).named_parameters()}
    facts = {"format": "lrps-fragments/1", "adam_step": 9, "shapes": shapes}
    keys = [f"{state}|{name}|0" for name in shapes for state in ("fp32", "exp_avg", "exp_avg_sq")]
    values = {key: torch.rand(torch.Size(shapes[key.split("|")[1]]).numel()) for key in keys}
    (tmp_path / "state").mkdir()
    save_file(values, tmp_path / "state" / "fragments-00000-of-00001.safetensors", {"lrps": json.dumps(facts)})
    write_universal(tmp_path / "state", tmp_path / "universal", 9, 18, {})
    words = ["convert", "from-universal", str(config_file), str(tmp_path / "universal"), str(tmp_path / "out")]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    (told,) = done.stdout.splitlines()
    assert (done.exit_code, Path(told)) == (0, tmp_path / "out" / "step-00000009")
    plan = make_plan(load_config(config_file, [f"model.initial_state={told}"]))
    assert initial_checkpoint(plan.config.model) == checkpoints.open_checkpoint(Path(told))
    with pytest.raises(CheckpointError, match=r"layers\.1\.\S+ is missing"):
        CliRunner().invoke(app, [*words, "-s", "model.architecture.num_hidden_layers=2"], catch_exceptions=False)
