"""Saving and loading on real ranks: together or not at all."""

from __future__ import annotations

import os
import re
import shutil
import socket
import threading
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lrps.base.errors import CheckpointError, DamagedCheckpointError
from lrps.engine.checkpointing import Saver, load_checkpoint, save_checkpoint, verify_together
from lrps.engine.fragments import own_fragments, read_fragments
from lrps.store import checkpoints
from lrps.store.checkpoints import remove
from lrps.store.layout import PathLayout
from lrps.store.newest import newest_intact
from lrps.store.segments import dealt
from support.preloaded import start_python

WORLDS = tuple(pytest.param(ranks, marks=pytest.mark.slow) for ranks in (1, 2))


@pytest.mark.parametrize("world", WORLDS)
def test_a_full_disk_on_one_rank_fails_on_all_and_leaves_the_old_checkpoint(matrix, world):
    found = matrix[world]["refusals"]
    assert len(found["save"]) == world
    assert all("File too large" in message for message in found["save"])
    assert found["left"] == ["step-00000001"]


@pytest.mark.parametrize("world", WORLDS)
def test_a_flipped_byte_is_refused_on_all_ranks(matrix, world):
    found = matrix[world]["refusals"]
    assert len(found["flipped"]) == world
    (message,) = set(found["flipped"])
    assert f"written by rank {world - 1}, is damaged: its SHA-256 is not the manifest's" in message
    assert not message.startswith("rank"), "the file is the same one for all ranks"
    assert found["changed"] == [], "once an intact state is loaded"


@pytest.mark.parametrize("world", WORLDS)
def test_a_damaged_newest_state_gives_way_on_all_ranks(matrix, world):
    found = matrix[world]["refusals"]["fallback"]
    assert found["steps"] == [1] * world
    (skipped,) = set(found["skipped"])
    assert skipped.endswith("is damaged: its SHA-256 is not the manifest's")
    assert found["different"] == []
    assert found["none"] == ["no state is left", "rank 0: no state is left"][:world]


@pytest.mark.parametrize("world", WORLDS)
def test_another_models_checkpoint_is_refused_on_all_ranks(matrix, world):
    found = matrix[world]["refusals"]
    assert len(found["other model"]) == world
    assert all("parameter model.embed_tokens.weight is absent there" in message for message in found["other model"])


@pytest.mark.parametrize("world", WORLDS)
def test_identity_holds_the_callers_and_the_engines_facts(matrix, world):
    identity = matrix[world]["refusals"]["identity"]
    assert identity["tokens"] == 64
    assert (identity["step"], identity["world_size"], identity["zero_stage"]) == (1, world, 3)
    assert set(identity["versions"]) == {"torch", "deepspeed", "transformers"}
    assert matrix[world]["refusals"]["state_json"] == identity


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("case", ["s0 fp32", "s1 fp32", "s2 bf16", "s3 fp32"])
def test_a_save_in_flight_is_the_synchronous_one_byte_for_byte(matrix, world, case):
    found = matrix[world]["asynchronous"][case]
    assert found["written"] == [False, False], "they were written after a further step"
    assert found["published"] == [2, 4]
    for awaited, in_flight in found["manifests"]:
        assert awaited == in_flight
    files = [pair[0]["files"] for pair in found["manifests"]]
    assert all(files[0][name] != files[1][name] for name in files[0]), "the states of the two steps differ"


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("case", ["s0 fp32", "s1 fp32", "s2 bf16", "s3 fp32"])
def test_an_error_of_one_writer_thread_reaches_all_ranks(matrix, world, case):
    found = matrix[world]["asynchronous"][case]
    assert len(found["error"]) == world
    for message in found["error"]:
        assert "cannot write" in message
        assert "Free disk space" in message
    assert found["left"] == ["step-00000002", "step-00000004"]


@pytest.mark.parametrize("world", WORLDS)
def test_closing_drops_what_is_not_published(matrix, world):
    for found in matrix[world]["asynchronous"].values():
        assert found["closed"] == ["step-00000002", "step-00000004"]


@pytest.mark.parametrize("world", WORLDS)
def test_a_sync_says_when_all_ranks_have_written_their_files(matrix, world):
    assert matrix[world]["written"] == [False, world == 1, True]


# One rank without a process group, in this process: what the writer's thread and its drafts become.


class TinyEngine:
    facts = {"world_size": 1, "zero_stage": 0}  # noqa: RUF012
    average = SimpleNamespace(rule=None)

    def __init__(self):
        module = torch.nn.Linear(3, 2)
        self._held = SimpleNamespace(
            module=module, optimizer=torch.optim.AdamW(module.parameters()), zero_optimization_stage=lambda: 0
        )

    def own_fragments(self):
        return own_fragments(self._held)

    def hold_update(self, until):
        until()  # Copies are made at once here.

    def read_fragments(self, saved, optimizer="carry", hashed=()):
        return read_fragments(self._held, saved, optimizer, hashed)


def test_closing_waits_for_the_thread_and_drops_the_draft(tmp_path, monkeypatch):
    layout, held, written = PathLayout(tmp_path), threading.Event(), []
    original = checkpoints.fsync_and_hash

    def hashing(path):
        assert held.wait()
        entry = original(path)
        written.append(path.name)
        return entry

    monkeypatch.setattr(checkpoints, "fsync_and_hash", hashing)
    saver = Saver(TinyEngine(), layout)
    saver.begin(5, {})
    threading.Timer(0.2, held.set).start()
    saver.close()
    assert sorted(written) == ["index.json", "state.json"], "it has ended, not been left"
    assert list(layout.checkpoints.iterdir()) == []


@pytest.mark.parametrize("fails", ["fsync_and_hash", "publish"])
def test_a_save_that_cannot_be_published_leaves_no_draft(tmp_path, monkeypatch, fails):
    layout = PathLayout(tmp_path)
    save_checkpoint(TinyEngine(), layout, 1, {})

    def refuse(*_):
        raise CheckpointError("full")

    monkeypatch.setattr(checkpoints, fails, refuse)
    with pytest.raises(CheckpointError, match="full"):
        save_checkpoint(TinyEngine(), layout, 2, {})
    with closing(Saver(TinyEngine(), layout)) as saver:
        saver.begin(3, {})
        with pytest.raises(CheckpointError, match="full"):
            saver.finish()
        assert [path.name for path in layout.checkpoints.iterdir()] == ["step-00000001"]


# Kills


def until(point):
    """End this process, as a kill does, at the nth call that changes a file."""
    calls = iter(range(1, point))

    def counted(function):
        def call(*arguments, **more):
            if next(calls, None) is None:
                os._exit(9)
            return function(*arguments, **more)

        return call

    for name in ("open", "pwrite", "fsync", "rename", "replace", "mkdir"):
        setattr(os, name, counted(getattr(os, name)))


def test_a_kill_at_any_point_loses_no_state(tmp_path):
    engine, layout = TinyEngine(), PathLayout(tmp_path / "path")
    save_checkpoint(engine, layout, 1, {})
    expected = save_checkpoint(engine, PathLayout(tmp_path / "undisturbed"), 2, {}).manifest
    killed = []
    while True:
        child = os.fork()
        if child == 0:
            until(len(killed) + 1)
            save_checkpoint(engine, layout, 2, {})
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        newest, skipped = newest_intact(layout.checkpoints)
        assert skipped == ()
        load_checkpoint(engine, newest)
        if code == 0:
            break
        assert code == 9
        killed.append(newest.step)
        if newest.step == 2:  # It was killed after the state had its name.
            remove(newest.directory)
    assert newest.manifest == expected
    assert killed == sorted(killed)
    assert len(killed) > 15


# Damage


@pytest.mark.parametrize("at", [12, -1], ids=["header", "values"])
def test_a_flipped_bit_is_damage_wherever_it_is(tmp_path, at):
    engine = TinyEngine()
    checkpoint = save_checkpoint(engine, PathLayout(tmp_path), 1, {})
    load_checkpoint(engine, checkpoint)
    file = next(checkpoint.directory.glob("*.safetensors"))
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)
    with pytest.raises(DamagedCheckpointError, match=r", bytes 0 to \d+, written by rank 0, is damaged: its"):
        load_checkpoint(engine, checkpoint)
    with pytest.raises(DamagedCheckpointError, match="is damaged"):
        verify_together(checkpoint)


def test_a_file_that_vanishes_is_damage(tmp_path):
    engine = TinyEngine()
    checkpoint = save_checkpoint(engine, PathLayout(tmp_path), 1, {})
    next(checkpoint.directory.glob("*.safetensors")).unlink()
    with pytest.raises(DamagedCheckpointError, match="is missing or not"):
        load_checkpoint(engine, checkpoint)


# Two ranks whose hosts see different files


def loop(file):
    file.unlink()
    file.symlink_to(file.name)  # An error of the file system, also for root.


def flip(file):
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


UNREADABLE = "UnreadableCheckpointError: rank 1: .*{name} cannot be read on host {host} "
SEEN_BY_RANK_1 = {
    loop: UNREADABLE,
    Path.unlink: UNREADABLE,
    lambda file: file.write_bytes(b"old size"): UNREADABLE,
    flip: "DamagedCheckpointError: .*{name}, bytes 0 to [0-9]+, written by rank 0, is damaged",
}


@pytest.fixture(scope="module")
def of_two_ranks(tmp_path_factory):
    """Return case -> what each of two ranks raises (hosts_worker.py); all cases in one pair of processes."""
    folder = tmp_path_factory.mktemp("hosts")
    saved = save_checkpoint(TinyEngine(), PathLayout(folder), 1, {})
    (name,) = {segment.file for segment in dealt(saved.segments, 1, 2)}
    given = [[str(saved.directory)] * len(SEEN_BY_RANK_1), []]
    for index, change in enumerate(SEEN_BY_RANK_1):
        other = folder / str(index) / saved.directory.name
        shutil.copytree(saved.directory, other)
        change(other / name)
        given[1].append(str(other))
    worker, raised = Path(__file__).with_name("hosts_worker.py"), [folder / f"raised-{rank}" for rank in (0, 1)]
    ranks = [
        start_python(worker, rank, folder / "store", *given[rank], stdout=raised[rank], stderr=folder / "errors")
        for rank in (0, 1)
    ]
    for rank in ranks:
        rank.join()
    return name, list(zip(*(file.read_text().splitlines() for file in raised), strict=True))


def test_only_other_bytes_on_one_host_are_damage_and_all_ranks_raise_the_same(of_two_ranks):
    name, raised = of_two_ranks
    for (found, other), expected in zip(raised, SEEN_BY_RANK_1.values(), strict=True):
        assert found == other
        assert re.match(expected.format(name=name, host=socket.gethostname()), found), found
