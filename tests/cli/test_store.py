"""`lrps push` and `lrps pull` as a person types them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from support.preloaded import run_lrps
from support.run_builder import files, small_run
from support.values import config_values


def lrps(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return run_lrps(*arguments, env={**os.environ, "COLUMNS": "200"})


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    """The file of a config whose run is there."""
    file = tmp_path / "small.yaml"
    keep = {"every_steps": 10, "keep_last": 2}
    file.write_text(yaml.safe_dump(config_values(runs=str(tmp_path / "runs"), checkpoint=keep), sort_keys=False))
    small_run(tmp_path / "runs")
    return file


def test_a_run_moves_through_a_bucket(config_file: Path, tmp_path: Path, s3: Callable[[str, bytes], None]) -> None:
    address = f"s3://lake/{tmp_path.name}"
    dry = lrps("push", config_file, address, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "would be transferred" in dry.stdout
    rows = {line.split()[0]: line.split(maxsplit=1)[1] for line in dry.stdout.splitlines() if "step-" in line}
    assert rows["main/branch_points/step-00000040"].split()[:2] == ["upload", "new"]
    assert rows["main/checkpoints/step-00000040"].startswith(
        "copy there  the same bytes as main/branch_points/step-0000"
    )
    assert rows["main/checkpoints/step-00000070"].startswith("skip        left out: incomplete: it has no manifest")
    done = json.loads(lrps("push", config_file, address, "--json").stdout)
    assert (done["verb"], done["address"], done["dry_run"]) == ("push", address, False)
    assert done["sent_bytes"] == sum(each["sent_bytes"] for each in done["groups"]) > 0
    pulled = lrps("pull", config_file, address, "-s", f"runs={tmp_path / 'fresh'}", "--json")
    assert pulled.returncode == 0, pulled.stderr
    came = files(tmp_path / "fresh" / "small")
    ours = files(tmp_path / "runs" / "small")
    assert came == {name: ours[name] for name in came}
    assert {name.split("/")[2] for name in came if "main/checkpoints" in name} == {
        *("step-00000050", "step-00000060"),  # the newest two
        "step-00000040",  # to rewind to
    }
    status = json.loads(lrps("status", config_file, "-s", f"runs={tmp_path / 'fresh'}", "--json").stdout)
    assert {each["name"]: each["step"] for each in status["paths"]}["main"] == 60


def test_one_state_of_one_path(config_file: Path, tmp_path: Path) -> None:
    lrps("push", config_file, tmp_path / "there")
    fresh = f"runs={tmp_path / 'fresh'}"
    done = lrps("pull", config_file, tmp_path / "there", "--path", "main", "--step", "50", "-s", fresh)
    assert done.returncode == 0, done.stderr
    held = [path.name for path in (tmp_path / "fresh").rglob("step-*")]
    assert held == ["step-00000050"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["pull", "THERE", "--step", "50"], "--step takes the state of one path"),
        (["pull", "THERE", "--path", "branch-v9"], "has no path branch-v9; its paths: branch-v1, main"),
        (["pull", "THERE", "-s", "seed=8"], "`seed`: the run was begun with 7, the config says 8"),
        (["pull", "THERE", "-s", "name=other"], "is a run of plan 'small'"),
        (["push", "s3://key:pl4nted@bucket"], "give credentials in the environment"),
        (["push", "nosuch://x"], "Protocol not known"),
    ],
)
def test_what_cannot_be_done_is_explained(arguments: list[str], told: str, config_file: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    lrps("push", config_file, there)
    verb, *rest = arguments
    if "name=other" in rest:
        small_run(tmp_path / "runs", "other")
    done = lrps(verb, config_file, *(word.replace("THERE", str(there)) for word in rest))
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert told in done.stderr
    assert "pl4nted" not in done.stderr
