"""From a config to shards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lrps.config.models import Config
from lrps.data.build import build_data, verify_data
from lrps.data.manifest import load_manifest, manifest_path
from lrps.errors import ConfigError, DataError
from tests_support import tiny_values


def config(root: Path, count: int, **data: Any) -> Config:
    for k in range(1, count + 1):
        file = root / f"v{k}.jsonl"
        if not file.exists():
            file.write_text("".join(json.dumps({"text": f"text {i} of v{k} " * 9}) + "\n" for i in range(30)))
    values = tiny_values(root, count)
    return Config.model_validate({**values, "data": {**values["data"], **data}})


def test_a_version_more_leaves_the_others_alone(tmp_path: Path) -> None:
    build_data(config(tmp_path, 1))
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "shards").rglob("*") if path.is_file()}
    build_data(config(tmp_path, 2))
    assert {path: path.stat().st_mtime_ns for path in files} == files
    first, second = (load_manifest(manifest_path(tmp_path / "shards", v, "train")) for v in ("v1", "v2"))
    assert first.tokenizer == second.tokenizer
    assert first.documents + load_manifest(manifest_path(tmp_path / "shards", "v1", "heldout")).documents == 30


def test_every_byte_is_verified(tmp_path: Path) -> None:
    made = config(tmp_path, 2)
    with pytest.raises(DataError, match="run `lrps data build CONFIG` first"):
        verify_data(made, quiet=True)
    build_data(made)
    assert [result["ok"] for result in verify_data(made, quiet=True)] == [True] * 4
    shard = next((tmp_path / "shards" / "v2").glob("v2-train-*.tar"))
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    faults = [result for result in verify_data(made, quiet=True) if not result["ok"]]
    assert len(faults) == 1
    assert shard.name in faults[0]["fault"]


def test_missing_text_or_tokenizer_is_told(tmp_path: Path) -> None:
    made = config(tmp_path, 1)
    (tmp_path / "v1.jsonl").unlink()
    with pytest.raises(DataError, match=r"no such text: .*v1\.jsonl"):
        build_data(made)
    with pytest.raises(DataError, match="no tokenizer at .*; name one with data.tokenizer, or let one be trained"):
        build_data(config(tmp_path, 1, train_vocabulary=None))
    with pytest.raises(ConfigError, match="no version has `text:`"):
        build_data(config(tmp_path, 1, versions=[{"name": "v1", "tokens": 9}]))
