"""A trained tokenizer is the one of the config's text and size, or it is refused before anything is built with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lrps.base.errors import DataError
from lrps.config.data import DataConfig
from lrps.config.versions import Version
from lrps.data.build.fingerprint import fingerprint_inputs
from lrps.data.build.trained import TrainedTokenizer
from lrps.data.tokenizer import read_tokenizer


def data(root: Path, vocabulary: int | None = 300, **changes: str) -> DataConfig:
    text = Version(name="v1", text=(str(root / "v1.jsonl"),))
    return DataConfig(root=root, train_vocabulary=vocabulary, sequence_length=8, versions=(text,), **changes)


def write_text(root: Path, *texts: str) -> list[Path]:
    (root / "v1.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return [root / "v1.jsonl"]


@pytest.fixture
def inputs(tmp_path: Path) -> list[Path]:
    return write_text(tmp_path, "one two three", "")


@pytest.fixture
def sha256(tmp_path: Path, inputs: list[Path]) -> str:
    """Hash of the tokenizer that was trained on the inputs."""
    return TrainedTokenizer(data(tmp_path)).train("v1", inputs).sha256


def test_the_record_says_what_the_tokenizer_was_made_of(tmp_path: Path, inputs: list[Path], sha256: str) -> None:
    record = json.loads((tmp_path / "tokenizer.provenance.json").read_text())
    entry = {"name": "v1.jsonl", **fingerprint_inputs(inputs)[inputs[0]].provenance}
    assert record == {
        "format": "lrps-tokenizer/1",
        "inputs": [entry],
        "sha256": sha256,
        "text_key": "text",
        "documents": "file",
        "train_vocabulary": 300,
        "version": "v1",
    }
    assert sha256 == read_tokenizer(tmp_path / "tokenizer.json").sha256


@pytest.mark.parametrize("used", [False, True])
def test_the_same_text_and_size_are_accepted(used: bool, tmp_path: Path, inputs: list[Path], sha256: str) -> None:
    TrainedTokenizer(data(tmp_path)).check(sha256, inputs, used=used)
    TrainedTokenizer(data(tmp_path)).check(sha256, inputs, fingerprint_inputs(inputs), used=used)
    TrainedTokenizer(data(tmp_path, None)).check("another", inputs, used=used)


def test_another_size_is_refused(tmp_path: Path, inputs: list[Path], sha256: str) -> None:
    other = TrainedTokenizer(data(tmp_path, 500))
    with pytest.raises(
        DataError, match=r"with data\.train_vocabulary 300, and nothing was built with it\. Move it away"
    ):
        other.check(sha256, inputs, used=False)
    with pytest.raises(DataError, match=r"train_vocabulary 300, the config has 500, .* were built .* Set it back"):
        other.check(sha256, inputs, used=True)


def test_other_text_is_refused_until_something_is_built(tmp_path: Path, inputs: list[Path], sha256: str) -> None:
    trained = TrainedTokenizer(data(tmp_path))
    write_text(tmp_path, "one two thref", "")  # The size is the same, so only the hash shows it.
    trained.check(sha256, inputs, used=False)
    with pytest.raises(DataError, match="was trained with other text of the first version, and nothing was built"):
        trained.check(sha256, inputs, fingerprint_inputs(inputs), used=False)
    write_text(tmp_path, "one two three four")
    with pytest.raises(DataError, match="other text of the first version"):
        trained.check(sha256, inputs, used=False)
    trained.check(sha256, inputs, fingerprint_inputs(inputs), used=True)
    inputs[0].unlink()
    trained.check(sha256, inputs, used=True)
    with pytest.raises(DataError, match=r"data\.text_key text"):
        TrainedTokenizer(data(tmp_path, text_key="body")).check(sha256, inputs, used=False)


def test_a_tokenizer_without_a_record_is_valid_where_it_was_used(tmp_path: Path, inputs: list[Path]) -> None:
    trained = TrainedTokenizer(data(tmp_path))
    trained.check("0" * 64, inputs, used=True)
    with pytest.raises(DataError, match=r"no record of its training.*Remove data\.train_vocabulary.*or move it away"):
        trained.check("0" * 64, inputs, used=False)


@pytest.mark.parametrize("last", ['{"text": "cut', '{"id": 1}', None])
def test_a_failed_training_leaves_nothing(last: str | None, tmp_path: Path) -> None:
    text = '{"text": " "}\n' if last is None else '{"text": "one two"}\n' * 5 + last
    (tmp_path / "v1.jsonl").write_text(text)
    message = "no document to train a tokenizer on" if last is None else r"v1\.jsonl, line 6"
    with pytest.raises(DataError, match=message):
        TrainedTokenizer(data(tmp_path)).train("v1", [tmp_path / "v1.jsonl"])
    assert [path.name for path in tmp_path.iterdir()] == ["v1.jsonl"]
