"""With datatrove as the engine the version is, byte for byte, the one that `lrps data build` makes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lrps.config.loader import load_config
from lrps.data.build.build import build_data
from support.values import tiny_values

TOOL = Path(__file__).parents[2] / "tools" / "datatrove_tokenize.py"


def config_file(root: Path) -> Path:
    """Two versions, the first of three files of different kinds."""
    root.mkdir()
    texts = [f"document {n} " * (n % 9) for n in range(120)]
    for name in ("v1", "v2", "more"):
        (root / f"{name}.jsonl").write_text("".join(json.dumps({"text": f"{name} {t}"}) + "\n" for t in texts))
    (root / "one.txt").write_text("one document\n")
    values = tiny_values(root, 2)
    values["data"]["versions"][0]["text"] += [str(root / "more.jsonl"), str(root / "one.txt")]
    (root / "config.yaml").write_text(yaml.safe_dump(values))
    return root / "config.yaml"


def files(root: Path) -> dict[str, bytes]:
    folders = [root / "shards" / version for version in ("v1", "v2")]
    return {str(p.relative_to(root)): p.read_bytes() for folder in folders for p in folder.rglob("*") if p.is_file()}


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, TOOL, *arguments], capture_output=True, text=True)


@pytest.mark.slow
def test_datatrove_makes_the_same_manifests_and_shards(tmp_path: Path) -> None:
    ours, theirs = (config_file(tmp_path / name) for name in ("ours", "theirs"))
    build_data(load_config(ours))
    logs = tmp_path / "logs"
    done = run(theirs, "--tasks", "2", "--workers", "2", "--logs", logs)
    assert done.returncode == 0, done.stderr
    assert len(list((logs / "stats").iterdir())) == 2, "datatrove ran two tasks"
    assert files(theirs.parent) == files(ours.parent)
    assert len(files(ours.parent)) == 8

    # Again, after a version was lost: its parts are made again, whatever datatrove has marked before.
    for file in (theirs.parent / "shards" / "v2").iterdir():
        file.unlink()
    done = run(theirs, "--tasks", "2", "--workers", "1", "--logs", logs)
    assert done.returncode == 0, done.stderr
    assert files(theirs.parent) == files(ours.parent)


@pytest.mark.slow
def test_an_error_in_a_task_is_one_message(tmp_path: Path) -> None:
    file = config_file(tmp_path / "one")
    with open(file.parent / "v2.jsonl", "a") as lines:
        lines.write("oops\n")
    for workers in ("1", "2"):
        done = run(file, "--tasks", "2", "--workers", workers)
        assert done.returncode == 2
        assert done.stderr.splitlines()[-1].startswith(f"error: {file.parent}/v2.jsonl, line 121: not JSON")


def test_help_says_how_to_run_it_on_a_cluster() -> None:
    text = run("--help").stdout
    assert "SlurmPipelineExecutor" in text
    assert "RayPipelineExecutor" in text
