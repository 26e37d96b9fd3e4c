"""The EOS and BOS tokens come from the config, the manifests, the tokenizer's settings or the checkpoint; no guess."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tokenizers.processors import TemplateProcessing

from lrps.base.errors import DataError
from lrps.data.data_tokenizer import open_tokenizer
from lrps.data.manifest import Manifest
from lrps.data.tokenizer import read_tokenizer
from support.synthetic_run import manifest
from support.tokenizers import family_file


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """A tokenizer with two usual spellings of the EOS token: </s> and <|endoftext|>."""
    contents = json.loads(family_file(tmp_path / "one.json", "byte BPE").read_text())
    added = contents["added_tokens"]
    contents["added_tokens"] = [*added, {**added[-1], "id": added[-1]["id"] + 1, "content": "<|endoftext|>"}]
    (tmp_path / "two.json").write_text(json.dumps(contents))
    return tmp_path / "two.json"


def made_by(path: Path, eos: str | int, version: str = "v1", **provenance: Any) -> Manifest:
    file = read_tokenizer(path)
    identity = file.identity(file.vocabulary[eos] if isinstance(eos, str) else eos)
    return replace(manifest(version, 10), tokenizer=identity, provenance=provenance)


def checkpoint(directory: Path, eos: Any) -> Path:
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps({"eos_token_id": eos}))
    return directory


def test_two_spellings_are_not_guessed(two: Path) -> None:
    with pytest.raises(DataError, match=r"any of <\|endoftext\|>, </s> may be the EOS token\. Set data\.end_token"):
        open_tokenizer(two)
    assert open_tokenizer(two, end_token="</s>").end == "</s>"


def test_the_order_of_what_names_the_eos_token(two: Path, tmp_path: Path) -> None:
    ids = read_tokenizer(two).vocabulary
    model = checkpoint(tmp_path / "model", ids["</s>"])
    assert open_tokenizer(two, checkpoint=model).end == "</s>"
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": "<|endoftext|>"}}))
    assert open_tokenizer(two).end == "<|endoftext|>"
    built = made_by(two, "</s>")
    assert open_tokenizer(two, manifests=[built]).end == "</s>"
    assert open_tokenizer(two, manifests=[made_by(tmp_path / "one.json", "</s>")]).end == "<|endoftext|>"
    assert open_tokenizer(two, manifests=[built], end_token="</s>").end == "</s>"
    with pytest.raises(DataError, match=r"data\.end_token is <\|endoftext\|>, but version v1 was built with .* </s>"):
        open_tokenizer(two, manifests=[built], end_token="<|endoftext|>")
    with pytest.raises(DataError, match="different EOS tokens: v1 with </s>, v2 with "):
        open_tokenizer(two, manifests=[built, made_by(two, "<|endoftext|>", "v2")])


@pytest.mark.parametrize(("eos", "end"), [(["</s>"], "</s>"), (["<unk>", "</s>"], "</s>"), ([], "")])
def test_a_checkpoint_may_have_several_eos_tokens(eos: list[str], end: str, two: Path, tmp_path: Path) -> None:
    ids = read_tokenizer(two).vocabulary
    model = checkpoint(tmp_path / "model", [ids[name] for name in eos])
    if not end:
        with pytest.raises(DataError, match="may be the EOS token"):
            open_tokenizer(two, checkpoint=model)
        return
    assert open_tokenizer(two, checkpoint=model).end == end
    assert open_tokenizer(two, checkpoint=model, end_token=eos[0]).checkpoint_mismatch is None


def test_another_eos_token_than_the_checkpoint_has(two: Path, tmp_path: Path) -> None:
    ids = read_tokenizer(two).vocabulary
    model = checkpoint(tmp_path / "model", ids["</s>"])
    found = open_tokenizer(two, checkpoint=model, end_token="<|endoftext|>").checkpoint_mismatch
    assert found is not None
    for part in (f"<|endoftext|> (id {ids['<|endoftext|>']})", f"</s> (id {ids['</s>']})", 'data.end_token: "</s>"'):
        assert part in found
    built = open_tokenizer(two, checkpoint=model, manifests=[made_by(two, "<|endoftext|>")]).checkpoint_mismatch
    assert built is not None
    assert "build under another data.root" in built


def test_an_unusual_spelling_needs_the_key(tmp_path: Path) -> None:
    path = family_file(tmp_path / "t.json", "byte BPE", "<END>")
    with pytest.raises(DataError, match=r"Set data\.end_token to the token .*\(candidates: <unk>, <s>, <END>\)"):
        open_tokenizer(path)
    assert open_tokenizer(path, end_token="<END>").end == "<END>"
    with pytest.raises(DataError, match=r"data\.end_token is <END, which .* did you mean <END>\? Set data"):
        open_tokenizer(path, end_token="<END")


def test_settings_beside_the_tokenizer_are_not_trusted_blindly(two: Path) -> None:
    two.with_name("tokenizer_config.json").write_text('{"eos_token": "<eos>"}')
    with pytest.raises(DataError, match=r"eos_token of .*tokenizer_config\.json is <eos>, which is not a token"):
        open_tokenizer(two)
    two.with_name("tokenizer_config.json").write_text("{")
    with pytest.raises(DataError, match=r"tokenizer_config\.json: cannot be read"):
        open_tokenizer(two)


def test_a_bos_token_is_asked_for_or_that_of_the_manifests(tmp_path: Path) -> None:
    path = family_file(tmp_path / "t.json", "byte BPE")
    assert open_tokenizer(path).begin is None
    assert open_tokenizer(path, begin_token="<s>").begin_id == read_tokenizer(path).vocabulary["<s>"]
    assert open_tokenizer(path, manifests=[made_by(path, "</s>", begin_token="<s>")]).begin == "<s>"
    with pytest.raises(DataError, match=r"data\.begin_token is <s>, but version v1 was built with no BOS .*: remove"):
        open_tokenizer(path, begin_token="<s>", manifests=[made_by(path, "</s>")])
    with pytest.raises(DataError, match="different BOS tokens: v1 with <s>, v2 with none"):
        open_tokenizer(path, manifests=[made_by(path, "</s>", begin_token="<s>"), made_by(path, "</s>", "v2")])
    with pytest.raises(DataError, match=r"data\.begin_token is </s>, the EOS token, which precedes every document"):
        open_tokenizer(path, begin_token="</s>")


@pytest.mark.parametrize("named_by", ["post-processor", "settings"])
def test_a_bos_token_that_is_left_out_is_noted(named_by: str, tmp_path: Path) -> None:
    path = family_file(tmp_path / "t.json", "byte BPE")
    assert open_tokenizer(path).absent_begin_note is None
    if named_by == "settings":
        (tmp_path / "tokenizer_config.json").write_text('{"add_bos_token": true, "bos_token": "<s>"}')
    else:
        tokenizer = open_tokenizer(path).file.library()
        tokenizer.post_processor = TemplateProcessing(
            single="<s> $A </s>", special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("<s>", "</s>")]
        )
        tokenizer.save(str(path))
    note = open_tokenizer(path).absent_begin_note
    assert note is not None
    assert "puts <s> before a text by itself; documents in the shards begin without it. If" in note
    assert 'data.begin_token: "<s>"' in note
    assert open_tokenizer(path, begin_token="<s>").absent_begin_note is None
