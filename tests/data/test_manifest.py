from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.base.errors import DataError
from lrps.data.manifest import load_manifest, manifest_path, save_manifest


@pytest.fixture
def path(tmp_path, build_version) -> Path:
    build_version(tmp_path)
    return manifest_path(tmp_path, "v1", "train")


@pytest.fixture(scope="module")
def canonical(tmp_path_factory, build_version) -> bytes:
    root = tmp_path_factory.mktemp("canonical")
    build_version(root)
    return manifest_path(root, "v1", "train").read_bytes()


def test_a_saved_manifest_comes_back_equal_and_with_equal_bytes(path, tmp_path):
    manifest = load_manifest(path)
    save_manifest(manifest, tmp_path / "copy.json")
    assert load_manifest(tmp_path / "copy.json") == manifest
    assert (tmp_path / "copy.json").read_bytes() == path.read_bytes()


def test_the_identity_is_the_hash_of_the_file(path):
    assert load_manifest(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_manifest_without_shards_is_whole(tmp_path, build_version):
    manifest = build_version(tmp_path, tokens=0)
    assert load_manifest(manifest_path(tmp_path, "v1", "train")) == manifest
    assert (manifest.tokens, manifest.rows(4), manifest.shards, len(manifest.blocks)) == (0, 0, (), 0)


def test_rows_are_counted_within_blocks(path):
    manifest = load_manifest(path)  # 19 blocks of 256 tokens and one of 136
    assert manifest.rows(100) == 19 * 2 + 1
    assert manifest.remainder_tokens(100) == 19 * 56 + 36
    assert manifest.rows(257) == 0


@pytest.mark.parametrize("version", ["v1.a.b", "v1.", ".v1", "v1.-a", "", "../v1", "a b", "-v1"])
def test_names_that_cannot_be_keys_are_refused(version, tmp_path):
    with pytest.raises(DataError, match="cannot name a version"):
        manifest_path(tmp_path, version, "train")


def test_unknown_splits_are_refused(tmp_path):
    with pytest.raises(DataError, match="not a split"):
        manifest_path(tmp_path, "v1", "test")


def set_key(*keys: str | int, to: Any) -> Callable[[Any], None]:
    def change(values: Any) -> None:
        for key in keys[:-1]:
            values = values[key]
        values[keys[-1]] = to

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_key("format", to="lrps-tokens/2"), "'lrps-tokens/2' is not 'lrps-tokens/1'"),
        (lambda v: v.pop("documents"), "the manifest has no documents"),
        (lambda v: v["tokenizer"].pop("eos"), "the tokenizer has no eos"),
        (lambda v: v["shards"][1].pop("sha256"), "shard 1 has no sha256"),
        (set_key("colour", to=1), "not in lrps-tokens/1: colour"),
        (set_key("tokens", to=1), "it has 1 tokens, its shards add up to 5000"),
        (set_key("tokens", to="5000"), "'tokens' of the manifest is '5000'"),
        (set_key("documents", to=True), "not of type int"),
        (set_key("text_bytes", to=-1), "negative"),
        (set_key("dtype", to="int8"), "int8"),
        (set_key("split", to="test"), "'test'"),
        (set_key("shards", to={}), "not a list"),
        (set_key("shards", 0, "tokens", to=9), "its members add up to 1024"),
        (set_key("shards", 0, "bytes", to=2000), "ends beyond"),
        (set_key("shards", 0, "name", to="../x.tar"), "plain file name"),
        (set_key("shards", 0, "members", 0, to=["k", 1, 2]), r"is not \[key, offset"),
        (set_key("shards", 0, "members", 0, 2, to="256"), r"is not \[key, offset"),
        (set_key("shards", 0, "members", to=3), r"is not \[\[key, offset"),
        (set_key("shards", 0, "members", 0, 0, to="v1-train-000000001"), "of v1-train-000000000"),
        (set_key("shards", 1, "name", to="v1-train-000000.tar"), "two shards have the same name"),
        (set_key("shards", 0, "name", to=".."), "plain file name"),
        (set_key("shards", 0, "members", 1, 1, to=1026), "overlap, or are not in the order"),
        (set_key("shards", 0, "members", 0, 1, to=1025), "is not aligned to uint16"),
        (set_key("shards", 0, "members", 0, 1, to=-2), r"is not \[key, offset"),
        (set_key("shards", 0, "members", 0, 3, to=2**32), r"is not \[key, offset"),
    ],
)
def test_a_wrong_manifest_is_refused_with_its_file_and_a_way_out(path, change, message):
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))
    with pytest.raises(DataError, match=message) as error:
        load_manifest(path)
    assert str(path) in str(error.value)
    assert "lrps data build CONFIG" in str(error.value)


def test_any_layout_of_the_same_json_is_the_same_manifest(path):
    manifest = load_manifest(path)
    path.write_text(json.dumps(json.loads(path.read_text()), indent=4))
    assert load_manifest(path) == manifest
    assert load_manifest(path).sha256 == manifest.sha256


@given(data=st.data())
def test_a_manifest_that_was_cut_is_refused(data, canonical, tmp_path_factory):
    cut = tmp_path_factory.mktemp("cut") / "manifest.json"
    cut.write_bytes(canonical[: data.draw(st.integers(0, len(canonical) - 2))])
    with pytest.raises(DataError, match="not JSON"):
        load_manifest(cut)


def test_what_is_not_there_or_not_json_is_refused(path, tmp_path):
    with pytest.raises(DataError, match=r"no such manifest.*lrps data build"):
        load_manifest(tmp_path / "none.json")
    path.write_text("[]")
    with pytest.raises(DataError, match="at its top"):
        load_manifest(path)


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("lrps.data.manifest", ("numpy", "torch", "webdataset")),
        ("lrps.data.stream", ("torch", "webdataset", "tokenizers")),
        ("lrps.data.build.tokenize", ("torch", "webdataset", "transformers")),
        ("lrps.data.verify", ("torch", "webdataset")),
    ],
)
def test_heavy_packages_are_not_loaded(module, absent):
    code = f"import sys, {module}; sys.exit(', '.join(set({absent!r}) & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_pipe_in_place_of_a_manifest_is_an_error(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DataError, match="v1-train.manifest.json: is no regular file; copy it again"):
        load_manifest(path)
