"""Manifests, shards, tokenizer and addresses of a config."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from lrps.base.files import sha256_file
from lrps.config.loader import load_config
from lrps.data.manifest import load_manifest, save_manifest
from lrps.doctor import data
from lrps.doctor.examination import Subject
from lrps.doctor.finding import Finding
from lrps.plan.plan import make_plan


@pytest.fixture
def root(tiny_config: Path, tmp_path: Path) -> Path:
    """A copy of the tiny shards."""
    return Path(shutil.copytree(load_config(tiny_config).data.root, tmp_path / "shards"))


def found(config: Path, *overrides: str, check: Callable[..., object] = data.check_data) -> dict[str, Finding]:
    findings: object = check(Subject(make_plan(load_config(config, overrides))))
    return {finding.name: finding for finding in findings}  # type: ignore[attr-defined]


def test_all_is_there(tiny_config: Path) -> None:
    findings = found(tiny_config)
    assert {name: each.state for name, each in findings.items()} == {"v1": "ok", "v2": "ok", "tokenizer": "ok"}
    assert list(data.check_data(Subject())) == []


def test_no_manifest(tiny_config: Path, tmp_path: Path) -> None:
    findings = found(tiny_config, f"data.root={tmp_path}")
    assert findings["v1"].way_out == "run `lrps data build CONFIG`"
    assert "tokenizer" not in findings


def test_shards_that_are_short_or_gone(tiny_config: Path, root: Path) -> None:
    short = next((root / "v1").glob("*train*.tar"))
    short.write_bytes(short.read_bytes()[:-1])
    next((root / "v2").glob("*train*.tar")).unlink()
    findings = found(tiny_config, f"data.root={root}")
    assert str(short) in findings["v1"].what
    assert "1 are missing" in findings["v2"].what
    assert (findings["v1"].state, findings["v2"].state) == ("fail", "fail")


def test_another_tokenizer(tiny_config: Path, root: Path) -> None:
    tokenizer = root / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text() + "\n")
    assert "is not the one that made the shards of v1, v2" in found(tiny_config, f"data.root={root}")["tokenizer"].what
    tokenizer.unlink()
    assert found(tiny_config, f"data.root={root}")["tokenizer"].state == "fail"


def test_a_model_without_room_for_the_tokens(tiny_config: Path) -> None:
    findings = found(tiny_config, "model.architecture.vocab_size=100")
    assert findings["tokenizer"].way_out == "set model.architecture.vocab_size to 257"


def remote(root: Path, url: str) -> tuple[str, ...]:
    return (f"data.root={root}", f"data.versions=[{{name: v1, url: '{url}', tokens: 1280}}]", "paradigms={cpt: {}}")


def test_addresses_are_read_at_their_beginning(tiny_config: Path, root: Path, tmp_path: Path) -> None:
    there = Path(shutil.copytree(root / "v1", tmp_path / "elsewhere"))
    settings = remote(root, str(there))
    assert found(tiny_config, *settings, check=data.check_remote)["v1 url"].state == "ok"
    shutil.rmtree(there)
    gone = found(tiny_config, *settings, check=data.check_remote)["v1 url"]
    assert (gone.state, bool(gone.way_out)) == ("fail", True)


def test_a_command_is_run_only_when_it_is_asked_for(tiny_config: Path, root: Path, tmp_path: Path) -> None:
    values = yaml.safe_load(tiny_config.read_text())
    version = {"name": "v1", "url": f"pipe:touch {tmp_path}/ran; printf x; : {{name}}", "tokens": 1280}
    values |= {"data": {**values["data"], "root": str(root), "versions": [version]}, "paradigms": {"cpt": {}}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
    plan = make_plan(load_config(tmp_path / "config.yaml"))
    (left,) = data.check_remote(Subject(plan))
    assert (left.state, left.way_out) == ("warn", "to run it, add --run-commands")
    assert not (tmp_path / "ran").exists()
    (tried,) = data.check_remote(Subject(plan, runs_commands=True))
    assert tried.state == "ok"
    assert (tmp_path / "ran").exists()


def test_the_cache_must_have_room(tiny_config: Path, root: Path, tmp_path: Path) -> None:
    settings = remote(root, str(shutil.copytree(root / "v1", tmp_path / "elsewhere")))
    assert "cache" not in found(tiny_config, *settings), "all shards lie here"
    for shard in (root / "v1").glob("*.tar"):
        shard.unlink()
    assert found(tiny_config, *settings)["cache"].state == "ok"
    assert found(tiny_config, *settings, "data.cache_limit=1000")["cache"].state == "warn"


def test_what_the_tokenizer_does_beside_the_shards(tiny_config: Path, root: Path) -> None:
    beside = root / "tokenizer_config.json"
    beside.write_text(json.dumps({"add_bos_token": True, "bos_token": "<s>"}))
    finding = found(tiny_config, f"data.root={root}")["BOS token"]
    assert finding.state == "warn"
    assert "begin without it" in finding.what
    assert 'data.begin_token: "<s>"' in str(finding.way_out)


def test_another_eos_token_than_the_checkpoint_has(tiny_config: Path, root: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": 257, "eos_token_id": 7}))
    model = ("model.architecture=null", f"model.checkpoint={tmp_path}")
    finding = found(tiny_config, f"data.root={root}", *model)["EOS token"]
    assert finding.state == "fail"
    assert "but the EOS token of" in finding.what
    assert "data.end_token" in str(finding.way_out)


def test_a_tokenizer_of_another_size_than_the_config_asks_for(tiny_config: Path, root: Path) -> None:
    finding = found(tiny_config, f"data.root={root}", "data.train_vocabulary=300")["tokenizer"]
    assert finding.state == "fail"
    assert "trained with data.train_vocabulary 257, the config has 300" in finding.what


def test_settings_of_the_tokenizer_that_changed_tokens(tiny_config: Path, root: Path) -> None:
    contents = json.loads((root / "tokenizer.json").read_text())
    contents["truncation"] = {"direction": "Right", "max_length": 9, "strategy": "LongestFirst", "stride": 0}
    (root / "tokenizer.json").write_text(json.dumps(contents))
    sha256 = sha256_file(root / "tokenizer.json")
    for path in root.glob("v*/*.manifest.json"):
        manifest = load_manifest(path)
        save_manifest(replace(manifest, tokenizer=replace(manifest.tokenizer, sha256=sha256)), path)
    finding = found(tiny_config, f"data.root={root}")["tokenizer settings"]
    assert finding.state == "warn"
    assert "truncation in the tokenizer's file changed the tokens of v1, v2" in finding.what


def test_a_version_on_which_nothing_can_be_evaluated(tiny_config: Path, root: Path) -> None:
    (root / "v1" / "v1-heldout.manifest.json").unlink()
    finding = found(tiny_config, f"data.root={root}")["v1 held out"]
    assert (finding.state, finding.what) == ("warn", "no whole sequence: all losses on it are n/a")
    assert "v2 held out" not in found(tiny_config, f"data.root={root}")
    (root / "tokenizer.json").unlink()
    advice = found(tiny_config, f"data.root={root}", "data.tokenizer=gpt2")["tokenizer"].way_out
    assert "`hf download gpt2 tokenizer.json --local-dir gpt2`" in advice
