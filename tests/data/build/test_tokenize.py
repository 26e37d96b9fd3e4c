"""Documents become one version, whoever makes which part and however often it is interrupted."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lrps.base.errors import ConfigError, DataError
from lrps.config.text import BadDocuments
from lrps.data.build import tokenize
from lrps.data.build.documents import PART_BYTES
from lrps.data.build.encode import Encoder, check_encodes_all
from lrps.data.build.fingerprint import fingerprint_inputs
from lrps.data.build.part_encoder import TextLimits
from lrps.data.build.part_file import PartWriter
from lrps.data.build.tokenize import (
    Recipe,
    Share,
    VersionText,
    built_manifests,
    finalize_version,
    tokenize_jobs,
    tokenize_part,
    unfinished_parts,
)
from lrps.data.build.writer import TokenWriter
from lrps.data.heldout import is_heldout
from lrps.data.manifest import Manifest, manifest_path
from lrps.data.tokenizer import TRAINED_EOS, read_tokenizer, train_tokenizer
from support.tokenizers import FAMILIES, family_file, load_tokenizer

TEXTS = [f"document {n}: " + "the quick brown fox " * (n % 7) for n in range(300)]


@pytest.fixture
def tokenizer_path(tmp_path) -> Path:
    train_tokenizer(TEXTS, 300, tmp_path / "tokenizer.json")
    return tmp_path / "tokenizer.json"


def jsonl(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text, "source": "test"}) + "\n" for text in texts))
    return path


def version_text(
    inputs: Sequence[Path], root: Path, tokenizer_path: Path, part_bytes: int = PART_BYTES, **recipe: Any
) -> VersionText:
    made_by = Recipe(tokenizer_path, load_tokenizer(tokenizer_path)[1], **recipe)
    return VersionText(root, "v1", tuple(inputs), made_by, part_bytes)


def build(
    inputs: Sequence[Path], root: Path, tokenizer_path: Path, part_bytes: int = PART_BYTES, **recipe: Any
) -> tuple[Manifest, Manifest]:
    """All of it in this process."""
    text = version_text(inputs, root, tokenizer_path, part_bytes, **recipe)
    fingerprints = fingerprint_inputs(inputs)
    if len(built_manifests(text, fingerprints)) < 2:
        tokenize_jobs(text.jobs(fingerprints), text.recipe)
    return finalize_version(text, fingerprints)


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def texts_of(manifest: Manifest, root: Path, tokenizer_path: Path) -> list[str]:
    """The documents of a split, decoded from its shards."""
    tokenizer, identity = load_tokenizer(tokenizer_path)
    blocks = []
    for shard in manifest.shards:
        data = (root / manifest.version / shard.name).read_bytes()
        blocks += [
            np.frombuffer(data, manifest.dtype, block.tokens, block.offset)
            for block in map(manifest.blocks.__getitem__, shard.blocks)
        ]
    tokens = np.concatenate(blocks)
    assert tokens[-1] == identity.eos
    documents = np.split(tokens, np.flatnonzero(tokens == identity.eos) + 1)[:-1]
    return [tokenizer.decode(document[:-1].tolist()) for document in documents]


def test_every_document_is_in_one_split_in_order(tmp_path, tokenizer_path):
    inputs = [jsonl(tmp_path / "a.jsonl", TEXTS), tmp_path / "b.txt"]
    inputs[1].write_text("one document\nof two lines\n")
    train, heldout = build(inputs, tmp_path, tokenizer_path, heldout_share=0.2)
    everything = [*TEXTS, inputs[1].read_text()]
    assert texts_of(train, tmp_path, tokenizer_path) == [t for t in everything if not is_heldout(t, 0.2, "lrps")]
    assert texts_of(heldout, tmp_path, tokenizer_path) == [t for t in everything if is_heldout(t, 0.2, "lrps")]
    assert 30 < heldout.documents < 90
    assert train.documents + heldout.documents == 301
    assert train.text_bytes + heldout.text_bytes == sum(len(text.encode()) for text in everything)


def test_documents_one_by_one_give_the_same_bytes(tmp_path, tokenizer_path):
    """What the writer makes of single documents, in the order of the inputs, is what parts are packed into."""
    inputs = [jsonl(tmp_path / "a.jsonl", [*TEXTS, " "]), jsonl(tmp_path / "b.jsonl", TEXTS[::-1])]
    build(inputs, tmp_path / "parts", tokenizer_path, 1000, heldout_share=0.1)
    tokenizer, identity = load_tokenizer(tokenizer_path)
    provenance = {
        "maker": "lrps.data.tokenize/1",
        "inputs": [{"name": p.name, **fingerprint_inputs([p])[p].provenance} for p in inputs],
        "heldout_share": 0.1,
        "heldout_salt": "lrps",
        "empty_documents": 1,
    }
    for split in ("train", "heldout"):
        with TokenWriter(tmp_path / "one", "v1", split, identity) as writer:
            for text in [*TEXTS, *TEXTS[::-1]]:
                if is_heldout(text, 0.1, "lrps") == (split == "heldout"):
                    tokens = [*tokenizer.encode(text, add_special_tokens=False).ids, identity.eos]
                    writer.add_document(np.array(tokens), len(text.encode()))
            writer.close(provenance)
    assert files(tmp_path / "parts") == files(tmp_path / "one")


class Interruption(Exception):
    pass


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(part_bytes=st.integers(500, 20_000), shares=st.integers(1, 5), seed=st.integers(), batch=st.integers(1, 9999))
def test_parts_shares_and_restarts_give_the_same_bytes(
    part_bytes, shares, seed, batch, tmp_path_factory, tokenizer_path, monkeypatch
):
    root = tmp_path_factory.mktemp("root")
    inputs = [jsonl(root / "a.jsonl", TEXTS[:90]), jsonl(root / "b.jsonl", ["", *TEXTS[40:60]])]
    build(inputs, root / "at-once", tokenizer_path, heldout_share=0.1)
    monkeypatch.setattr(tokenize, "BATCH_CHARACTERS", batch)
    text = version_text(inputs, root / "shared", tokenizer_path, part_bytes, heldout_share=0.1)
    fingerprints = fingerprint_inputs(inputs)
    rng = random.Random(seed)

    def perhaps_interrupt(_: int) -> None:
        if rng.random() < 0.05:
            raise Interruption

    turns = [Share(number, shares) for number in range(1, shares + 1)] * 2
    for share in rng.sample(turns, len(turns)):
        with suppress(Interruption):
            tokenize_jobs(text.jobs(fingerprints, share), text.recipe, progress=perhaps_interrupt)
    done = {job.path: job.path.stat().st_mtime_ns for job in text.jobs(fingerprints) if job.path.exists()}
    tokenize_jobs(text.jobs(fingerprints), text.recipe)
    assert all(path.stat().st_mtime_ns == made for path, made in done.items()), "what is there is not made again"
    finalize_version(text, fingerprints)
    assert files(root / "shared") == files(root / "at-once")


def test_progress_adds_up_to_the_input(tmp_path, tokenizer_path, monkeypatch):
    monkeypatch.setattr(tokenize, "BATCH_CHARACTERS", 100)
    inputs = [jsonl(tmp_path / "a.jsonl", TEXTS * 40)]
    size = inputs[0].stat().st_size
    text = version_text(inputs, tmp_path, tokenizer_path, 300_000, heldout_share=0.1)
    hashed: list[int] = []
    tokenized: list[int] = []
    packed: list[int] = []
    fingerprints = fingerprint_inputs(inputs, progress=hashed.append)
    tokenize_part(text.recipe, text.jobs(fingerprints)[0], tokenized.append)
    assert (sum(tokenized), len([count for count in tokenized if count]) > 2) == (300_000, True)
    tokenize_jobs(text.jobs(fingerprints)[1:], text.recipe, progress=tokenized.append)
    finalize_version(text, fingerprints, packed.append)
    assert sum(hashed) == sum(tokenized) == sum(packed) == size


@pytest.mark.slow
def test_a_killed_worker_ends_the_pool_and_the_next_one_goes_on(tmp_path, tokenizer_path):
    inputs = [jsonl(tmp_path / f"{n}.jsonl", [f"{n} {text}" for text in TEXTS * 50]) for n in range(3)]
    build(inputs, tmp_path / "at-once", tokenizer_path, heldout_share=0.1)
    text = version_text(inputs, tmp_path / "pool", tokenizer_path, 100_000, heldout_share=0.1)
    fingerprints = fingerprint_inputs(inputs, processes=2)
    killed = []

    def kill_one(done_bytes: int) -> None:
        if done_bytes and not killed:
            killed.append(multiprocessing.active_children()[0].pid)
            os.kill(killed[0], signal.SIGKILL)

    with pytest.raises(DataError, match="a worker was killed.*run the same command again"):
        tokenize_jobs(text.jobs(fingerprints), text.recipe, 2, kill_one)
    made = [job for job in text.jobs(fingerprints) if job not in unfinished_parts(text.jobs(fingerprints))]
    assert 0 < len(made) < len(text.parts)
    assert not list(tmp_path.glob("pool/v1/v1-*"))
    with pytest.raises(DataError, match=r"v1: \d+ of \d+ parts are not tokenized: .*\.jsonl"):
        finalize_version(text, fingerprints)
    tokenize_jobs(text.jobs(fingerprints), text.recipe, 2)
    finalize_version(text, fingerprints)
    assert files(tmp_path / "pool") == files(tmp_path / "at-once")


def test_damaged_parts_are_made_again(tmp_path, tokenizer_path):
    inputs = [jsonl(tmp_path / "a.jsonl", TEXTS)]
    build(inputs, tmp_path / "sound", tokenizer_path, heldout_share=0.1)
    text = version_text(inputs, tmp_path / "damaged", tokenizer_path, 5000, heldout_share=0.1)
    fingerprints = fingerprint_inputs(inputs)
    jobs = text.jobs(fingerprints)
    tokenize_jobs(jobs, text.recipe)
    short, flipped = jobs[0].path, jobs[1].path
    short.write_bytes(short.read_bytes()[:-10])
    assert [job.path for job in unfinished_parts(jobs)] == [short]
    tokenize_jobs(jobs, text.recipe)
    data = bytearray(flipped.read_bytes())
    data[300] ^= 1
    flipped.write_bytes(data)
    with pytest.raises(DataError, match="was damaged"):
        finalize_version(text, fingerprints)
    assert not list(tmp_path.glob("damaged/v1/v1-*"))
    tokenize_jobs(jobs, text.recipe)
    finalize_version(text, fingerprints)
    assert files(tmp_path / "damaged") == files(tmp_path / "sound")


def test_parts_of_another_recipe_are_never_mixed_in(tmp_path, tokenizer_path):
    inputs = [jsonl(tmp_path / "a.jsonl", TEXTS), jsonl(tmp_path / "b.jsonl", TEXTS[:9])]
    fingerprints = fingerprint_inputs(inputs)
    each_alone = inputs[0].stat().st_size
    text = version_text(inputs, tmp_path, tokenizer_path, each_alone, heldout_share=0.1)
    tokenize_jobs(text.jobs(fingerprints), text.recipe)
    for part_bytes, changes in [
        (each_alone, {"heldout_share": 0.2}),
        (each_alone, {"heldout_share": 0.1, "heldout_salt": "other"}),
        (each_alone, {"heldout_share": 0.1, "text_key": "source"}),
        (each_alone - 1, {"heldout_share": 0.1}),
    ]:
        other = version_text(inputs, tmp_path, tokenizer_path, part_bytes, **changes)
        assert unfinished_parts(other.jobs(fingerprints)) == other.jobs(fingerprints)
    train_tokenizer(TEXTS, 290, tmp_path / "other.json")
    other = version_text(inputs, tmp_path, tmp_path / "other.json", each_alone, heldout_share=0.1)
    assert len(unfinished_parts(other.jobs(fingerprints))) == 2
    jsonl(inputs[0], TEXTS[1:])
    changed = version_text(inputs, tmp_path, tokenizer_path, each_alone, heldout_share=0.1)
    (missing,) = unfinished_parts(changed.jobs(fingerprint_inputs(inputs)))
    assert missing.part.paths == (inputs[0],), "the text that did not change is not tokenized again"


def test_a_tokenizer_that_changes_in_between_is_refused(tmp_path, tokenizer_path):
    inputs = [jsonl(tmp_path / "a.jsonl", TEXTS)]
    text = version_text(inputs, tmp_path, tokenizer_path, heldout_share=0.1)
    train_tokenizer(TEXTS, 290, tokenizer_path)
    with pytest.raises(DataError, match="was changed while it was in use"):
        tokenize_jobs(text.jobs(fingerprint_inputs(inputs)), text.recipe)


@given(st.integers(0, 100), st.integers(1, 20))
def test_all_shares_together_are_the_whole(count, shares):
    taken = [Share.parse(f"{number}/{shares}").take(range(count)) for number in range(1, shares + 1)]
    assert [part for share in taken for part in share] == list(range(count))
    assert max(map(len, taken)) - min(map(len, taken)) <= 1


@pytest.mark.parametrize("text", ["", "3", "0/4", "5/4", "1/0", "-1/4", "1/4/4", "a/b", "1.5/4"])
def test_no_share(text):
    with pytest.raises(ConfigError, match="is not a share: write I/N"):
        Share.parse(text)


def test_another_text_key_stands_in_the_provenance(tmp_path, tokenizer_path):
    inputs = [jsonl(tmp_path / "a.jsonl", TEXTS)]
    train, _ = build(inputs, tmp_path, tokenizer_path, heldout_share=0.0, text_key="source")
    assert train.provenance["text_key"] == "source"
    with pytest.raises(DataError, match="made with other text_key"):
        build(inputs, tmp_path, tokenizer_path, heldout_share=0.0)
    assert "text_key" not in build(inputs, tmp_path / "usual", tokenizer_path, heldout_share=0.0)[0].provenance


def test_text_that_spells_the_end_mark_does_not_end_the_document(tmp_path, tokenizer_path):
    text = f'eos = "{TRAINED_EOS}"\n'
    train, _ = build([jsonl(tmp_path / "a.jsonl", [text])], tmp_path, tokenizer_path, heldout_share=0.0)
    assert texts_of(train, tmp_path, tokenizer_path) == [text]


def test_empty_documents_are_counted_and_left_out(tmp_path, tokenizer_path):
    inputs = [jsonl(tmp_path / "a.jsonl", ["", "full", " \n"])]
    train, heldout = build(inputs, tmp_path, tokenizer_path, heldout_share=0.0)
    assert train.provenance["empty_documents"] == 2
    assert (train.documents, heldout.documents, heldout.shards) == (1, 0, ())


@pytest.mark.parametrize(("texts", "found"), [([" "], "0 held out, 1 empty"), (TEXTS[:2], "2 held out, 0 empty")])
def test_a_version_without_training_documents_is_refused(texts, found, tmp_path, tokenizer_path):
    with pytest.raises(DataError, match=rf"v1: no document to train on: {found}.*data\.heldout_share"):
        build([jsonl(tmp_path / "a.jsonl", texts)], tmp_path, tokenizer_path, heldout_share=0.999)
    assert list((tmp_path / "v1").iterdir()) == []


def test_provenance_names_the_inputs(tmp_path, tokenizer_path):
    path = jsonl(tmp_path / "a.jsonl", TEXTS)
    train, _ = build([path], tmp_path, tokenizer_path, heldout_share=0.1)
    (entry,) = train.provenance["inputs"]
    assert (entry["name"], entry["bytes"], len(entry["sha256"])) == ("a.jsonl", path.stat().st_size, 64)


def test_a_second_build_does_no_work(tmp_path, tokenizer_path, monkeypatch):
    inputs = [jsonl(tmp_path / "a.jsonl", TEXTS)]
    first = build(inputs, tmp_path, tokenizer_path, heldout_share=0.1)
    monkeypatch.setattr(tokenize, "PartWriter", None)
    monkeypatch.setattr(tokenize, "TokenWriter", None)
    assert build(inputs, tmp_path, tokenizer_path, heldout_share=0.1) == first


@pytest.mark.parametrize("lost", ["train", "heldout"])
def test_a_build_that_lost_one_split_makes_that_one_again(lost, tmp_path, tokenizer_path):
    inputs = [jsonl(tmp_path / "a.jsonl", TEXTS)]
    first = build(inputs, tmp_path, tokenizer_path, heldout_share=0.1)
    manifest_path(tmp_path, "v1", lost).unlink()
    assert build(inputs, tmp_path, tokenizer_path, heldout_share=0.1) == first
    assert manifest_path(tmp_path, "v1", lost).exists()


def test_too_little_held_out_is_refused_only_while_nothing_is_built(tmp_path, tokenizer_path):
    inputs = [jsonl(tmp_path / "a.jsonl", TEXTS)]
    text = replace(version_text(inputs, tmp_path, tokenizer_path, heldout_share=0.1), heldout_tokens=10**6)
    fingerprints = fingerprint_inputs(inputs)
    tokenize_jobs(text.jobs(fingerprints), text.recipe)
    with pytest.raises(DataError, match=r"v1: 2\d of 300 documents are held out.*Add text: no share below 0\.5"):
        finalize_version(text, fingerprints)
    assert not list(tmp_path.glob("v1/v1-*"))
    made = finalize_version(replace(text, heldout_tokens=1), fingerprints)
    manifest_path(tmp_path, "v1", "heldout").unlink()
    tokenize_jobs(text.jobs(fingerprints), text.recipe)
    assert finalize_version(text, fingerprints) == made


def test_a_version_never_changes(tmp_path, tokenizer_path):
    inputs = [jsonl(tmp_path / "a.jsonl", TEXTS)]
    build(inputs, tmp_path, tokenizer_path, heldout_share=0.1)
    with pytest.raises(DataError, match=r"other heldout_share \(0\.1, the config says 0\.2\), and a version never"):
        build(inputs, tmp_path, tokenizer_path, heldout_share=0.2)
    jsonl(inputs[0], TEXTS[1:])
    with pytest.raises(DataError, match=r"v1-train.manifest.json was made with other inputs \(a\.jsonl is new"):
        build(inputs, tmp_path, tokenizer_path, heldout_share=0.1)
    jsonl(inputs[0], TEXTS)
    train_tokenizer(TEXTS, 290, tokenizer_path)
    with pytest.raises(DataError, match="other tokenizer"):
        build(inputs, tmp_path, tokenizer_path, heldout_share=0.1)


SURROGATES = ['{"text": "\\ud83d"}', '{"text": "\\ud83d\\ude00"}']
BAD = ['{"text": "cut', '{"body": "y"}', '{"text": 3}', *SURROGATES, '{"text": " "}']


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(part_bytes=st.integers(50, 3000), shares=st.integers(1, 4))
def test_bad_documents_are_counted_the_same_whoever_reads_them(part_bytes, shares, tmp_path_factory, tokenizer_path):
    root = tmp_path_factory.mktemp("root")
    (root / "a.jsonl").write_text("".join(f"{line}\n" for line in [*BAD, '{"text": "good"}'] * 9))
    skip = BadDocuments(action="skip", limit=0.7)
    text = version_text([root / "a.jsonl"], root, tokenizer_path, part_bytes, heldout_share=0.0, bad_documents=skip)
    fingerprints = fingerprint_inputs(text.inputs)
    for number in range(1, shares + 1):
        tokenize_jobs(text.jobs(fingerprints, Share(number, shares)), text.recipe)
    strict = version_text([root / "a.jsonl"], root, tokenizer_path, part_bytes, heldout_share=0.0)
    with pytest.raises(DataError, match="v1: 36 of 63 documents cannot be read .9 broken-json, 9 lone-surr"):
        finalize_version(strict, fingerprints)
    train, _ = finalize_version(text, fingerprints)
    assert train.provenance["bad_documents"] == {"broken-json": 9, "lone-surrogate": 9, "no-text": 18}
    assert (train.documents, train.provenance["empty_documents"]) == (18, 9)
    assert texts_of(train, root, tokenizer_path) == ["\U0001f600", "good"] * 9
    assert built_manifests(strict, fingerprints)["train"] == train, "a version that is built stays"


def test_the_division_of_text_files_stands_in_the_provenance_of_versions_that_have_some(tmp_path, tokenizer_path):
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    jsonl(tmp_path / "b.jsonl", TEXTS)
    lines, whole = ({"heldout_share": 0.0, "documents": documents} for documents in ("line", "file"))
    train, _ = build([tmp_path / "a.txt", tmp_path / "b.jsonl"], tmp_path / "both", tokenizer_path, **lines)
    assert (train.documents, train.provenance["documents"]) == (302, "line")
    with pytest.raises(DataError, match=r"other documents \(line, the config says file\)"):
        build([tmp_path / "a.txt", tmp_path / "b.jsonl"], tmp_path / "both", tokenizer_path, **whole)
    without, _ = build([tmp_path / "b.jsonl"], tmp_path / "without", tokenizer_path, **lines)
    assert build([tmp_path / "b.jsonl"], tmp_path / "without", tokenizer_path, **whole)[0] == without
    assert "documents" not in without.provenance


def test_files_of_the_same_name_are_told_apart_in_the_provenance(tmp_path, tokenizer_path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
    inputs = [jsonl(tmp_path / "x/a.jsonl", TEXTS), jsonl(tmp_path / "y/a.jsonl", TEXTS[:9])]
    train, _ = build(inputs, tmp_path, tokenizer_path, heldout_share=0.0)
    assert [each["name"] for each in train.provenance["inputs"]] == ["x/a.jsonl", "y/a.jsonl"]
    # A manifest that was made before has the last part of both names only.
    path = manifest_path(tmp_path, "v1", "train")
    path.write_text(path.read_text().replace('"x/a.jsonl"', '"a.jsonl"').replace('"y/a.jsonl"', '"a.jsonl"'))
    assert build(inputs, tmp_path, tokenizer_path, heldout_share=0.0)[0].provenance["inputs"][1]["name"] == "a.jsonl"


def test_unreadable_input_leaves_no_version(tmp_path, tokenizer_path):
    inputs = [jsonl(tmp_path / "a.jsonl", TEXTS), tmp_path / "b.jsonl"]
    inputs[1].write_text('{"text": 3}\n')
    with pytest.raises(DataError, match="line 1: has no string"):
        build(inputs, tmp_path, tokenizer_path, inputs[0].stat().st_size, heldout_share=0.1)
    assert [path.name.split("-")[0] for path in tmp_path.glob("v1/*")] == [".parts"]
    assert len(list(tmp_path.glob("v1/.parts-*/*"))) == 1, "the part that could be made"


def test_missing_inputs_and_silly_shares_are_refused(tmp_path, tokenizer_path):
    with pytest.raises(DataError, match=r"none\.txt: cannot read this input"):
        build([tmp_path / "none.txt"], tmp_path, tokenizer_path, heldout_share=0.0)
    with pytest.raises(ConfigError, match="held-out share of 1"):
        build([], tmp_path, tokenizer_path, heldout_share=1)


def ends_and_documents(manifest: Manifest, root: Path) -> tuple[int, int]:
    """Number of EOS tokens in the shards of a split, and number of its documents."""
    ends = 0
    for shard in manifest.shards:
        data = (root / manifest.version / shard.name).read_bytes()
        for block in map(manifest.blocks.__getitem__, shard.blocks):
            tokens = np.frombuffer(data, manifest.dtype, block.tokens, block.offset)
            ends += int(np.count_nonzero(tokens == manifest.tokenizer.eos))
    return ends, manifest.documents


@pytest.mark.parametrize("family", FAMILIES)
def test_shards_have_one_eos_token_a_document(family, tmp_path):
    marks = ["one </s> two", "</s>", "three <|endoftext|> four", "plain words here", "<p>the</s></p>"] * 4
    inputs = [jsonl(tmp_path / "a.jsonl", marks), tmp_path / "b.txt"]
    inputs[1].write_text("</s>\n\n</s> the fox")
    tokenizer = family_file(tmp_path / "t.json", family, special=family != "BPE")
    for split in build(inputs, tmp_path, tokenizer, heldout_share=0.3, limits=TextLimits(unknown=1)):
        ends, documents = ends_and_documents(split, tmp_path)
        assert ends == documents > 0


def test_documents_that_were_cut_or_padded_are_not_taken_for_built(tmp_path, tokenizer_path):
    """A version of the same file from before its settings were switched off has other tokens."""
    inputs = [jsonl(tmp_path / "a.jsonl", TEXTS)]
    before = build(inputs, tmp_path / "before", tokenizer_path, heldout_share=0.1)
    now = build(inputs, tmp_path / "now", tokenizer_path, heldout_share=0.1, ignored_settings=("truncation",))
    assert now[0].provenance == before[0].provenance | {"ignored_tokenizer_settings": ["truncation"]}
    with pytest.raises(DataError, match="was built while truncation of .* cut, padded or changed its tokens"):
        build(inputs, tmp_path / "before", tokenizer_path, heldout_share=0.1, ignored_settings=("truncation",))
    assert build(inputs, tmp_path / "now", tokenizer_path, heldout_share=0.1, ignored_settings=("truncation",)) == now


def test_a_bos_token_begins_every_document(tmp_path):
    inputs = [jsonl(tmp_path / "a.jsonl", ["the <s> fox", "<s>", "one"])]
    tokenizer = family_file(tmp_path / "t.json", "byte BPE")
    train, _ = build(inputs, tmp_path, tokenizer, heldout_share=0.0, begin_token="<s>")
    assert train.provenance["begin_token"] == "<s>"
    assert texts_of(train, tmp_path, tokenizer) == ["the <s> fox", "<s>", "one"]  # Special tokens are not decoded.
    begin = load_tokenizer(tokenizer)[0].token_to_id("<s>")
    data = (tmp_path / "v1" / train.shards[0].name).read_bytes()
    tokens = np.frombuffer(data, train.dtype, train.blocks[0].tokens, train.blocks[0].offset)
    ends = np.flatnonzero(tokens == train.tokenizer.eos)
    assert np.flatnonzero(tokens == begin).tolist() == [0, *(ends[:-1] + 1)]
    with pytest.raises(DataError, match="made with other begin_token"):
        build(inputs, tmp_path, tokenizer, heldout_share=0.0)


def test_unk_tokens_are_counted_in_both_splits(tmp_path):
    inputs = [jsonl(tmp_path / "a.jsonl", [f"the fox {n} x" for n in range(30)])]
    tokenizer = family_file(tmp_path / "t.json", "WordLevel")
    splits = build(inputs, tmp_path, tokenizer, heldout_share=0.3, limits=TextLimits(unknown=0.5))
    assert [split.provenance["unknown_tokens"] for split in splits] == [30, 30]
    with pytest.raises(DataError, match=r"a\.jsonl, document 1: 1 of its 5 tokens are the unk token.*20\.00%"):
        build(inputs, tmp_path / "less", tokenizer, heldout_share=0.3, limits=TextLimits(unknown=0.1))
    assert not list(tmp_path.glob("less/v1/v1-*"))


def test_a_document_is_named_by_its_file_and_number(tmp_path, tokenizer_path):
    inputs = [jsonl(tmp_path / "a.jsonl", TEXTS), jsonl(tmp_path / "b.jsonl", ["short", "", "long " * 30])]
    with pytest.raises(DataError, match=r"b\.jsonl, document 3: 150 B of text, more than data\.longest_document"):
        build(inputs, tmp_path, tokenizer_path, heldout_share=0.0, limits=TextLimits(longest=149))


def test_parts_with_ends_inside_documents_are_made_again(tmp_path, tokenizer_path):
    """As an earlier release made them of text that spells the EOS token."""
    inputs = [jsonl(tmp_path / "a.jsonl", TEXTS)]
    text = version_text(inputs, tmp_path, tokenizer_path, heldout_share=0.0)
    (job,) = text.jobs(fingerprint_inputs(inputs))
    eos = text.recipe.identity.eos
    with PartWriter(job.path) as writer:
        writer.add("train", np.array([5, eos, 6, eos], np.uint16), np.array([[4, 9]]))
        writer.close()
    with pytest.raises(DataError, match="had EOS tokens within documents and has been removed"):
        finalize_version(text, fingerprint_inputs(inputs))
    assert not job.path.exists()


def test_bytes_that_a_byte_level_tokenizer_lacks_are_counted(tmp_path):
    """Published ones lack bytes of control characters, which the library drops without an error."""
    contents = json.loads(family_file(tmp_path / "t.json", "byte BPE").read_text())
    del contents["model"]["vocab"]["Ą"], contents["model"]["vocab"]["ô"]  # bytes 04 and F4
    (tmp_path / "t.json").write_text(json.dumps(contents))
    inputs = [jsonl(tmp_path / "a.jsonl", ["the fox " * 90, "a\x04b\x04", "\U0010ffff and so on"])]
    file = read_tokenizer(tmp_path / "t.json")
    check_encodes_all(Encoder(file, file.vocabulary["</s>"]), file)
    splits = build(inputs, tmp_path, tmp_path / "t.json", heldout_share=0.0)
    assert [split.provenance["lost_bytes"] for split in splits] == [3, 3]
    with pytest.raises(DataError, match=r"a\.jsonl, document 2: 2 of its 3 tokens are the unk token or were lost"):
        build(inputs, tmp_path / "less", tmp_path / "t.json", heldout_share=0.0, limits=TextLimits(unknown=0.001))
