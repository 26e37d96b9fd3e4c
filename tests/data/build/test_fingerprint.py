"""Tokens of a file that was changed after it was hashed never come into a version."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lrps.base.errors import DataError
from lrps.data.build.fingerprint import changed_inputs, fingerprint_inputs
from lrps.data.build.tokenize import Recipe, VersionText, finalize_version, tokenize_jobs, unfinished_parts
from lrps.data.tokenizer import train_tokenizer

CHANGED = r"a\.jsonl was changed while it was tokenized; start again"


def lines(count: int) -> str:
    return "".join(json.dumps({"text": f"text {n}"}) + "\n" for n in range(count))


@pytest.fixture
def text(tmp_path: Path) -> VersionText:
    """Two files, cut into several parts."""
    inputs = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    inputs[0].write_text(lines(200))
    inputs[1].write_text(lines(200).replace("text ", "word "))
    identity = train_tokenizer(["text"], 257, tmp_path / "tokenizer.json")
    return VersionText(tmp_path, "v1", inputs, Recipe(tmp_path / "tokenizer.json", identity, 0.1), 2000)


def append(path: Path) -> None:
    with open(path, "a") as file:
        file.write(lines(1))


def rewrite_in_place(path: Path) -> None:
    with open(path, "r+") as file:
        file.write(lines(200).replace("text 1", "TEXT 1"))


def replace(path: Path) -> None:
    before = path.stat()
    other = path.with_suffix(".new")
    other.write_text(lines(200).replace("text 1", "TEXT 1"))
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)


CHANGES = pytest.mark.parametrize(
    "change", [append, rewrite_in_place, replace, Path.unlink, lambda p: p.write_text("{")]
)


def once(change: Callable[[Path], object], path: Path) -> Callable[[int], None]:
    """A progress that changes the file when it is first told of some."""
    changes = iter([change])
    return lambda count: next(changes, lambda _: None)(path) if count else None


@CHANGES
def test_a_change_while_a_part_is_made(change, text):
    fingerprints = fingerprint_inputs(text.inputs)
    jobs = text.jobs(fingerprints)
    with pytest.raises(DataError, match=CHANGED):
        tokenize_jobs(jobs, text.recipe, progress=once(change, text.inputs[0]))
    assert len(unfinished_parts(jobs)) >= len(jobs) - 1, "but for the first, which was whole before"
    assert changed_inputs(fingerprints) == [text.inputs[0]]


@CHANGES
def test_a_change_while_the_file_is_hashed(change, text, monkeypatch):
    monkeypatch.setattr("lrps.data.build.fingerprint.HASH_CHUNK_BYTES", 1000)
    fingerprints = fingerprint_inputs(text.inputs, progress=once(change, text.inputs[0]))
    with pytest.raises(DataError, match=r"a\.jsonl"):
        tokenize_jobs(text.jobs(fingerprints), text.recipe)


@CHANGES
def test_a_change_while_the_parts_are_packed(change, text):
    fingerprints = fingerprint_inputs(text.inputs)
    jobs = text.jobs(fingerprints)
    tokenize_jobs(jobs, text.recipe)
    with pytest.raises(DataError, match=CHANGED):
        finalize_version(text, fingerprints, once(change, text.inputs[0]))
    assert not list(text.directory.glob("v1-*"))
    assert unfinished_parts(jobs) == [job for job in jobs if text.inputs[0] in job.part.paths]
    assert len(unfinished_parts(jobs)) < len(jobs)


def test_a_build_that_starts_again_takes_the_text_as_it_is_now(text):
    fingerprints = fingerprint_inputs(text.inputs)
    with pytest.raises(DataError, match=CHANGED):
        tokenize_jobs(text.jobs(fingerprints), text.recipe, progress=once(append, text.inputs[0]))
    again = VersionText(text.root, text.version, text.inputs, text.recipe, text.part_bytes)
    fingerprints = fingerprint_inputs(again.inputs)
    tokenize_jobs(again.jobs(fingerprints), again.recipe)
    train, heldout = finalize_version(again, fingerprints)
    assert train.documents + heldout.documents == 401
    assert train.provenance["inputs"][0]["bytes"] == text.inputs[0].stat().st_size
