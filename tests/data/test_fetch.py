from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from lrps.base.errors import ConfigError, DataError
from lrps.cli import app
from lrps.config.loader import load_config
from lrps.config.models import Config
from lrps.data.cache import open_files
from lrps.data.fetch import fetch_data, fetch_manifests
from lrps.data.files import LocalFiles
from lrps.data.manifest import load_manifest, manifest_path
from lrps.data.stream import TokenSource
from support.values import config_values


@pytest.fixture(autouse=True)
def _quick(quick_retries) -> None:
    """No test waits between tries."""


@pytest.fixture
def built(web, build_version) -> Path:
    """v1 and v2 behind the web server; v2 has a held-out set, which is v1's under another name."""
    for version in ("v1", "v2"):
        build_version(web.root, version)
    heldout = json.loads(manifest_path(web.root, "v2", "train").read_bytes()) | {"split": "heldout"}
    for shard in heldout["shards"]:
        for member in shard["members"]:
            member[0] = member[0].replace("-train-", "-heldout-")
    manifest_path(web.root, "v2", "heldout").write_text(json.dumps(heldout))
    return web.root


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "here"


@pytest.fixture
def config(web, root, make_config):
    def make(address: str = f"{web.url}/{{}}", **data: object) -> Config:
        versions = [{"name": name, "url": address.format(name)} for name in ("v1", "v2")]
        local = {"name": "v3", "tokens": 1600}
        return make_config(
            data={"root": str(root), "sequence_length": 20, "versions": [*versions, local], **data},
            runs=str(root / "runs"),
        )

    return make


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


MANIFESTS = ["v1/v1-train.manifest.json", "v2/v2-heldout.manifest.json", "v2/v2-train.manifest.json"]


@pytest.mark.parametrize("address", ["WEB/{}", "FOLDER/{}", "file://FOLDER/{}", "pipe:cat FOLDER/{}/{{name}}"])
def test_manifests_are_copied_byte_for_byte(address, config, built, web, root):
    made = config(address.replace("WEB", web.url).replace("FOLDER", str(web.root)))
    for _ in range(2):  # and once more: nothing changes
        found = [(manifest.version, manifest.split) for manifest in fetch_manifests(made)]
        assert found == [("v1", "train"), ("v2", "train"), ("v2", "heldout")]
        assert files_below(root) == MANIFESTS
        assert all((root / name).read_bytes() == (built / name).read_bytes() for name in MANIFESTS)


def test_the_parts_of_a_mixture_are_fetched(make_config, web, build_version, root):
    for name in ("v1.a", "v1.b"):
        build_version(web.root, name)
    parts = {part: {"url": f"{web.url}/v1.{part}", "weight": 1} for part in ("a", "b")}
    data = {"root": str(root), "sequence_length": 20, "versions": [{"name": "v1", "mixture": parts}]}
    made = make_config(data=data)
    fetch_data(made, shards=True)
    assert files_below(root)[-2:] == ["v1.a/v1.a-train.manifest.json", "v1.b/v1.b-train.manifest.json"]
    shard = load_manifest(manifest_path(root, "v1.b", "train")).shards[0]
    assert open_files(made.data, "v1.b").find(shard) is not None


def test_s3(config, built, s3, root):
    for name in files_below(built):
        s3(name, (built / name).read_bytes())
    fetch_data(config("s3://lake/{}"), shards=True)
    assert [name for name in files_below(root) if name in MANIFESTS] == MANIFESTS


def test_another_manifest_of_that_name_is_refused(config, built, root, build_version):
    mine = build_version(root, "v1", 700)
    with pytest.raises(DataError, match="v1-train.manifest.json, and a version never changes"):
        fetch_manifests(config())
    assert load_manifest(manifest_path(root, "v1", "train")) == mine


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values["shards"][0].update(url="pipe:rm -rf x"), "neither commands nor local files"),
        (lambda values: values["shards"][0].update(url="file:///etc/passwd"), "neither commands nor local files"),
        (lambda values: values["shards"][0].update(url="../v0/a.tar"), "stay below its folder"),
        (lambda values: values.update(tokens=1), "v1-train.manifest.json at http.*it has 1 tokens"),
        (lambda values: values.pop("tokenizer"), "the manifest has no tokenizer"),
    ],
)
def test_a_manifest_is_checked_before_it_is_kept(change, message, config, built, root):
    path = manifest_path(built, "v1", "train")
    values = json.loads(path.read_bytes())
    change(values)
    path.write_text(json.dumps(values))
    with pytest.raises(DataError, match=message):
        fetch_manifests(config())
    assert files_below(root) == []


def test_the_manifest_of_another_version_is_refused(config, built, root):
    shutil.copy(manifest_path(built, "v2", "train"), manifest_path(built, "v1", "train"))
    with pytest.raises(DataError, match=r"is the manifest of version v2 \(train\)"):
        fetch_manifests(config())
    assert files_below(root) == []


@pytest.mark.parametrize("step", [404, 403, "cut", 503])
def test_a_manifest_that_cannot_be_had_is_named(step, config, built, web, root):
    web.script["/v1/v1-train.manifest.json"].extend([step] * 4)
    with pytest.raises(DataError, match=r"v1-train.manifest.json: .*"):
        fetch_manifests(config())
    assert files_below(root) == []


def test_a_heldout_set_that_may_be_there_is_not_left_out(config, built, web):
    web.script["/v2/v2-heldout.manifest.json"].extend([503] * 4)
    with pytest.raises(DataError, match="v2-heldout.manifest.json: HTTP 503"):
        fetch_manifests(config())


def test_shards_come_into_the_cache(config, built, web, root):
    config_of_it = config(cache_limit="1MB")
    fetch_data(config_of_it, shards=True)
    shards = {f"/v{k}/{shard.name}" for k in (1, 2) for shard in load_manifest(built / MANIFESTS[2 * k - 2]).shards}
    assert sorted(name for name in web.requests if name.endswith(".tar")) == sorted(shards)
    asked = len(web.requests)
    for version, split in (("v1", "train"), ("v2", "train"), ("v2", "heldout")):
        manifest = load_manifest(manifest_path(root, version, split))
        here = TokenSource(manifest, open_files(config_of_it.data, version), sequence_length=20, seed=0)
        there = TokenSource(manifest, LocalFiles(built / version), sequence_length=20, seed=0)
        assert np.array_equal(here.read(np.arange(here.rows)), there.read(np.arange(there.rows)))
    assert len(web.requests) == asked


def test_shards_that_do_not_fit_are_not_begun(config, built, web):
    with pytest.raises(DataError, match="data.cache_limit is 1,000; raise it, or omit --shards"):
        fetch_data(config(cache_limit="1kB"), shards=True)
    assert not [name for name in web.requests if name.endswith(".tar")]


def test_there_is_nothing_to_fetch(make_config):
    with pytest.raises(ConfigError, match="no version has a `url:`"):
        fetch_data(make_config())


def test_the_command_line_says_what_to_do_and_does_it(built, web, root, tmp_path):
    file = tmp_path / "config.yaml"
    address = f"http://me:pl4nted@{web.host}"
    versions = [{"name": name, "url": f"{address}/{name}?s3cret"} for name in ("v1", "v2")]
    values = config_values(runs=str(root / "runs"))
    values["data"] = {"root": str(root), "sequence_length": 20, "versions": versions}
    file.write_text(yaml.safe_dump(values))
    runner = CliRunner()

    def lrps(*words: str) -> str:
        result = runner.invoke(app, [*words, str(file)])
        return f"{result.output} {result.exception or ''}"

    for verb in ("plan", "run"):
        assert "its size is unknown; run `lrps data fetch CONFIG`" in lrps(verb)
    done = lrps("data", "fetch", "--shards")
    total = sum(load_manifest(root / name).tokens for name in MANIFESTS[:1])
    assert f"v1 (train): {total:,} tokens in 5 shards" in done
    assert "15 shards (307,200 bytes) copied to" in done
    said = done + lrps("plan") + lrps("plan", "--json") + lrps("run", "--dry-run")
    assert "pl4nted" not in said
    assert "s3cret" not in said
    assert load_config(file).data.versions[0].url == versions[0]["url"]
