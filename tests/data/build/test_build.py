"""From a config to shards."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lrps.base.errors import USER_MISTAKE, ConfigError, DataError
from lrps.config.models import Config
from lrps.data.build.build import build_data, finalize_data, tokenize_data
from lrps.data.build.tokenize import Share
from lrps.data.manifest import load_manifest, manifest_path
from lrps.data.verify import verify_data
from support.mixed_versions import mixed_values
from support.values import tiny_values


def config(root: Path, count: int, **data: Any) -> Config:
    for k in range(1, count + 1):
        file = root / f"v{k}.jsonl"
        if not file.exists():
            file.write_text("".join(json.dumps({"text": f"text {i} of v{k} " * 9}) + "\n" for i in range(30)))
    values = tiny_values(root, count)
    return Config.model_validate({**values, "data": {**values["data"], **data}})


def files(root: Path) -> dict[str, bytes]:
    """Everything below the folder of the shards."""
    return {str(p.relative_to(root)): p.read_bytes() for p in (root / "shards").rglob("*") if p.is_file()}


def config_file(root: Path, inputs: int, documents: int) -> Path:
    """One version of several files, for the command line."""
    root.mkdir()
    for n in range(inputs):
        lines = (json.dumps({"text": f"document {i} of file {n} " * (i % 90)}) + "\n" for i in range(documents))
        (root / f"part{n}.jsonl").write_text("".join(lines))
    values = tiny_values(root, 1)
    values["data"]["versions"][0]["text"] = [str(root / f"part{n}.jsonl") for n in range(inputs)]
    (root / "config.yaml").write_text(yaml.safe_dump(values))
    return root / "config.yaml"


WITH_SMALL_PARTS = """
from lrps.data import documents
documents.PART_BYTES = 100_000
from lrps.cli import main
main()
"""


def lrps_data(*arguments: Any, limit: Callable[[], None] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lrps.cli", "data", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, preexec_fn=limit)


def test_a_version_more_leaves_the_others_alone(tmp_path: Path) -> None:
    build_data(config(tmp_path, 1))
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "shards").rglob("*") if path.is_file()}
    build_data(config(tmp_path, 2))
    assert {path: path.stat().st_mtime_ns for path in files} == files
    first, second = (load_manifest(manifest_path(tmp_path / "shards", v, "train")) for v in ("v1", "v2"))
    assert first.tokenizer == second.tokenizer
    assert first.documents + load_manifest(manifest_path(tmp_path / "shards", "v1", "heldout")).documents == 30


def test_rehearsal_sets_are_versions_too(tmp_path: Path) -> None:
    (tmp_path / "notes.jsonl").write_text(json.dumps({"text": "what to rehearse " * 99}) + "\n")
    rehearsal = [{"name": "notes", "text": [str(tmp_path / "notes.jsonl")], "since": "v1"}]
    build_data(config(tmp_path, 1, rehearsal=rehearsal))
    splits = [load_manifest(manifest_path(tmp_path / "shards", "notes", split)) for split in ("train", "heldout")]
    assert sum(manifest.documents for manifest in splits) == 1


def test_shares_and_packing_make_what_one_build_makes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "shared"):
        (tmp_path / name).mkdir()
    build_data(config(tmp_path / "one", 3))
    made = config(tmp_path / "shared", 3)
    with pytest.raises(DataError, match=r"v1: 1 of 1 parts are not tokenized: .*v1\.jsonl\. Run `lrps data tokenize"):
        finalize_data(made)
    tokenize_data(made, share=Share(2, 2))
    tokenize_data(made, ["v3"], share=Share(1, 1))
    assert "v3: 0 of 1 parts tokenized, 1 existed" in capsys.readouterr().out
    tokenize_data(made, share=Share(1, 2))
    finalize_data(made, ["v2"])
    assert not manifest_path(made.data.root, "v1", "train").exists()
    finalize_data(made)
    assert files(tmp_path / "one") == files(tmp_path / "shared")
    tokenize_data(made)
    assert "v2: already built" in capsys.readouterr().out
    assert files(tmp_path / "one") == files(tmp_path / "shared")
    with pytest.raises(ConfigError, match="no version v4 with `text:`; these have it: v1, v2, v3"):
        tokenize_data(made, ["v2", "v4"])


def test_empty_documents_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "v1.jsonl").write_text('{"body": " "}\n{"body": "full"}\n{"body": ""}\n')
    build_data(config(tmp_path, 1, text_key="body"))
    assert "v1: 2 empty documents left out" in capsys.readouterr().out


@pytest.mark.parametrize(("documents", "found"), [(1, "no document"), (20, r"\d+ tokens, no whole sequence")])
def test_nothing_to_evaluate_on_is_told(documents: int, found: str, tmp_path: Path, capsys: Any) -> None:
    lines = [json.dumps({"text": f"text {n}"}) + "\n" for n in range(documents)]
    (tmp_path / "v1.jsonl").write_text("".join(lines))
    made = config(tmp_path, 1, heldout_share=0.1, sequence_length=64)
    warning = rf"warning: v1 holds out {found}, so .* Raise data\.heldout_share \(now 0\.1\)"
    for _ in range(2):
        build_data(made)
        assert re.search(warning, capsys.readouterr().out)
    (tmp_path / "v2.jsonl").write_text("".join(lines) * 30)
    build_data(config(tmp_path, 2, heldout_share=0.1, sequence_length=64))
    assert ("warning: v2" in capsys.readouterr().out) == (documents == 1)


def test_a_file_that_one_version_names_twice_is_refused(tmp_path: Path) -> None:
    def doubled(other: str) -> Config:
        return config(tmp_path, 1, versions=[{"name": "v1", "text": [str(tmp_path / "v1.jsonl"), str(other)]}])

    with pytest.raises(ConfigError, match=r"the text of v1 names .*v1\.jsonl twice: remove one"):
        build_data(doubled(tmp_path / "v1.jsonl"))
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "v1.jsonl")
    with pytest.raises(ConfigError, match=r"names .*v1\.jsonl and .*link\.jsonl, which are the same file"):
        build_data(doubled(tmp_path / "link.jsonl"))
    assert not files(tmp_path)


@pytest.mark.slow
def test_a_build_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    whole, killed = (config_file(tmp_path / name, 8, 800) for name in ("whole", "killed"))
    assert lrps_data("build", whole, "--processes", 1).returncode == 0
    command = [sys.executable, "-c", WITH_SMALL_PARTS, "data", "build", killed, "--processes", "2"]
    build = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    folder = killed.parent / "shards" / "v1"
    while len(list(folder.glob(".parts-*/*.npz"))) < 2:
        assert build.poll() is None
        time.sleep(0.01)
    os.kill(build.pid, signal.SIGKILL)
    build.wait()
    made = len(list(folder.glob(".parts-*/*.npz")))
    assert made >= 2
    assert not list(folder.glob("v1-*"))
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    now, there = map(int, re.search(r"(\d+) of \d+ parts tokenized, (\d+) existed: ", done.stdout).groups())
    assert (now > 0, there) == (True, made)
    assert files(killed.parent) == files(whole.parent)


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["tokenize", "finalize"])
def test_a_full_disk_is_told_and_leaves_nothing_half_made(verb: str, tmp_path: Path) -> None:
    file = config_file(tmp_path / "full", 1, 500)
    if verb == "finalize":
        assert lrps_data("tokenize", file).returncode == 0
    before = files(tmp_path / "full")
    # No file may grow beyond 100 kB: to a writer the same as a disk without room.
    done = lrps_data(verb, file, limit=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10**5, 10**5)))
    assert done.returncode == USER_MISTAKE
    assert "cannot write" in done.stderr
    assert "Free disk space and run the same command again" in done.stderr
    assert "Exception ignored" not in done.stderr
    assert files(tmp_path / "full").keys() - {"shards/tokenizer.json"} == before.keys() - {"shards/tokenizer.json"}
    done = lrps_data("build", file)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--share", "5/4"), "is not a share: write I/N"),
        (("v9",), "no version v9 has `text:`"),
    ],
)
def test_what_the_command_line_refuses(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    done = lrps_data("tokenize", config_file(tmp_path / "one", 1, 3), *arguments)
    assert done.returncode == USER_MISTAKE
    assert message in done.stderr


def test_every_byte_is_verified(tmp_path: Path) -> None:
    made = config(tmp_path, 2)
    with pytest.raises(DataError, match="run `lrps data build CONFIG`"):
        verify_data(made, quiet=True)
    build_data(made)
    assert [result["ok"] for result in verify_data(made, quiet=True)] == [True] * 4
    shard = next((tmp_path / "shards" / "v2").glob("v2-train-*.tar"))
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    faults = [result for result in verify_data(made, quiet=True) if not result["ok"]]
    assert len(faults) == 1
    assert shard.name in faults[0]["faults"][0]


def test_missing_text_or_tokenizer_is_told(tmp_path: Path) -> None:
    made = config(tmp_path, 1)
    (tmp_path / "v1.jsonl").unlink()
    with pytest.raises(DataError, match=r"no such files: .*v1\.jsonl"):
        build_data(made)
    with pytest.raises(
        DataError, match="no tokenizer at .*; set data.tokenizer to a tokenizer.json, or data.train_vocabulary"
    ):
        build_data(config(tmp_path, 1, train_vocabulary=None))
    with pytest.raises(ConfigError, match="no version has `text:`"):
        build_data(config(tmp_path, 1, versions=[{"name": "v1", "tokens": 9}]))


def test_the_name_of_a_version_means_all_parts_of_its_mixture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Config.model_validate(mixed_values(tmp_path))
    tokenize_data(made, ["v1"], processes=1)
    shown = capsys.readouterr().out
    assert "tokenizer.json on v1: 257 tokens" in shown
    assert [f"{name}: 1 of 1 parts tokenized" in shown for name in ("v1.code", "v1.web", "v2")] == [True, True, False]
    finalize_data(made, ["v1.web"])
    assert manifest_path(made.data.root, "v1.web", "train").exists()
    assert not manifest_path(made.data.root, "v1.code", "train").exists()
