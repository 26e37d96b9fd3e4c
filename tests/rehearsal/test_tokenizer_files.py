"""The identity of a model covers every file that decides its tokens, and sets that were begun before continue."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lrps.paths.graph import Release
from lrps.rehearsal.model_ref import ModelRef
from lrps.rehearsal.stage_file import StageFile
from lrps.rehearsal.tokenizer_files import TOKENIZER_FILES, as_begun


@pytest.fixture
def model(tmp_path: Path) -> ModelRef:
    directory = tmp_path / "model"
    directory.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (directory / name).write_text(name)
    return ModelRef("model", directory)


@pytest.mark.parametrize(
    "name",
    [
        *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "generation_config.json"),
        *("vocab.json", "vocab.txt", "merges.txt", "tokenizer.model", "spiece.model", "qwen.tiktoken"),
    ],
)
def test_a_file_that_decides_tokens_changes_the_identity(model: ModelRef, name: str) -> None:
    before = model.identity
    (model.directory / name).write_text("one")
    one = model.identity
    (model.directory / name).write_text("other")
    other = model.identity
    assert len({identity.get(TOKENIZER_FILES) for identity in (before, one, other)}) == 3
    assert {**one, TOKENIZER_FILES: ""} == {**other, TOKENIZER_FILES: ""} == {**before, TOKENIZER_FILES: ""}
    assert model.differs(one)
    assert not model.differs(other)
    assert not model.differs(before), "a set of an earlier version has recorded the weights only"


def test_other_files_and_those_of_a_release_do_not_count(model: ModelRef) -> None:
    before = model.identity
    (model.directory / "README.md").write_text("text")
    assert model.identity == before
    (model.directory / "tokenizer_config.json").write_text("{}")
    assert ModelRef("p/v1", model.directory, Release("v1", "main", 1)).identity.keys() == before.keys()


def test_a_set_that_was_begun_without_the_digest_continues_without_it(model: ModelRef, tmp_path: Path) -> None:
    former = model.identity
    (model.directory / "tokenizer_config.json").write_text("{}")
    stages = tmp_path / "set"
    assert as_begun(model.identity, "base", stages) == model.identity
    StageFile(stages, "demonstrations", {"maker": "x", "seed": 7}).write(())
    (stages / "costs.jsonl").write_text(json.dumps({"stage": "synthesis", "tokens": 1}) + "\n")
    assert as_begun(model.identity, "base", stages) == model.identity
    StageFile(stages, "synthesis", {"maker": "x", "base": former}).write(())
    assert as_begun(model.identity, "base", stages) == former
    assert as_begun(model.identity, "latest", stages) == model.identity
    assert as_begun({**model.identity, "weights_sha256": "other"}, "base", stages)[TOKENIZER_FILES]
