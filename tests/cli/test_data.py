"""`lrps rehearse` as a person types it: shown, killed in the middle, and gone on with."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest
import yaml

from support.preloaded import run_lrps, start_python
from support.rehearsal_models import letters_model, save_model

pytestmark = pytest.mark.slow


def rehearse(*arguments: str | Path) -> str:
    done = run_lrps("rehearse", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def config(tiny_config: Path, tmp_path: Path) -> Path:
    values = yaml.safe_load(tiny_config.read_text())
    shutil.copytree(values["data"]["root"], tmp_path / "shards")
    model = str(save_model(tmp_path / "model", letters_model(1)))
    synthesis = {"of": "v1", "base": model, "latest": model, "demonstration_share": 0.3, "prefix_tokens": 4}
    settings = {**synthesis, "max_tokens": 24, "batch_size": 1, "generations": 40, "selection": "random"}
    values["data"] |= {
        "root": str(tmp_path / "shards"),
        "rehearsal": [{"name": "r", "since": "v2", "tokens": 160, "synthesis": settings}],
    }
    values["runs"] = str(tmp_path / "runs")
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(values, sort_keys=False))
    return file


def test_a_set_is_shown_killed_and_made(config: Path, tmp_path: Path) -> None:
    shown = json.loads(rehearse(config, "r", "--dry-run", "--json"))
    wanted = shown["generations"]["wanted"]
    assert shown["rows"] == 10
    stages = tmp_path / "runs" / "tiny" / "rehearsal" / "r"
    assert not stages.exists(), "nothing is made by showing it"

    killed = start_python("-m", "lrps.cli", "rehearse", config, "r", stdout=tmp_path / "killed.log")
    until = time.monotonic() + 600
    while not any(file.read_bytes().count(b"\n") > 8 for file in stages.glob("synthesis-*")):
        assert killed.exitcode is None, (tmp_path / "killed.log").read_text()
        assert time.monotonic() < until
        time.sleep(0.01)
    killed.kill()
    killed.join()
    (file,) = stages.glob("synthesis-*")
    before = file.read_bytes()
    assert 8 < before.count(b"\n") <= wanted, "killed in the middle"

    made = json.loads(rehearse(config, "r", "--json"))
    assert (made["made"], made["rows"]) == (True, 10)
    assert file.read_bytes().startswith(before[: before.rindex(b"\n") + 1])
    content = {each.name: each.read_bytes() for each in (tmp_path / "shards" / "r").iterdir()}

    shutil.rmtree(tmp_path / "shards" / "r")
    shutil.rmtree(tmp_path / "runs")
    assert made["manifest_sha256"][:12] in rehearse(config, "r")
    assert {each.name: each.read_bytes() for each in (tmp_path / "shards" / "r").iterdir()} == content
