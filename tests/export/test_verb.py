"""`lrps export` as a person types it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from lrps.base.errors import CheckpointError
from lrps.cli import app
from lrps.plan.plan import Plan


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
