"""A checkpoint exists once, whole; a pin outlives everything; damage is found."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import socket
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrps.base.errors import CheckpointError, DamagedCheckpointError, UnreadableCheckpointError
from lrps.store import checkpoints
from lrps.store.checkpoints import (
    begin,
    complete_checkpoints,
    damaged_ones,
    directory_name,
    find,
    fsync_and_hash,
    incomplete_checkpoints,
    pin,
    publish,
    remove,
    set_aside,
    verify_checkpoint,
    verify_segments,
)
from lrps.store.kept_checkpoints import prune_checkpoints
from lrps.store.layout import PathLayout
from lrps.store.manifest import render_manifest
from lrps.store.newest import newest_complete, newest_intact
from lrps.store.segments import FileSegment, merged_entries
from support.first_format import with_first_manifest

IDENTITY = {"plan": "p", "tokens": 10**12, "positions": {"v1": 7}, "shares": (0.1, 0.9), "by_rank": {10: 1, 9: 2}}


def save(directory, step, content=b"state", identity=IDENTITY):
    temporary = begin(directory, step)
    for name, data in (("a.safetensors", content), ("state.json", b"{}")):
        (temporary / name).write_bytes(data)
    files = {name: fsync_and_hash(temporary / name) for name in ("a.safetensors", "state.json")}
    return publish(temporary, step, files, identity)


def steps(directory):
    return [checkpoint.step for checkpoint in complete_checkpoints(directory)]


def contents(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_a_published_checkpoint_is_found_with_its_identity(tmp_path):
    saved = save(tmp_path, 480)
    assert saved.directory == tmp_path / "step-00000480"
    assert complete_checkpoints(tmp_path) == (saved,)
    assert saved.identity == json.loads(json.dumps(IDENTITY))
    assert saved.bytes == 7
    assert saved.manifest["format"] == "lrps-checkpoint/2"
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000480"]
    verify_checkpoint(saved)


def test_checkpoints_ascend_by_step_also_beyond_eight_digits(tmp_path):
    for step in (20, 123456789, 3):
        save(tmp_path, step)
    assert steps(tmp_path) == [3, 20, 123456789]


def test_nothing_there_is_no_error(tmp_path):
    assert complete_checkpoints(tmp_path / "absent") == ()
    assert newest_intact(tmp_path / "absent") == (None, ())


def test_an_interrupted_save_leaves_the_newest_and_is_cleaned_up(tmp_path):
    old = save(tmp_path, 1)
    temporary = begin(tmp_path, 2)
    (temporary / "a.safetensors").write_bytes(b"half")
    assert newest_intact(tmp_path) == (old, ())
    assert list(begin(tmp_path, 2).iterdir()) == []


@pytest.mark.parametrize("function", ["rename", "replace", "fsync"])
def test_a_crash_anywhere_in_publishing_leaves_the_newest(tmp_path, monkeypatch, function):
    old = save(tmp_path, 1)
    with monkeypatch.context() as patch:

        def crash(*_):
            raise KeyboardInterrupt

        patch.setattr(os, function, crash)
        with pytest.raises(KeyboardInterrupt):
            save(tmp_path, 2)
    assert newest_intact(tmp_path)[0] == old
    assert newest_intact(tmp_path)[1] == ()


def test_a_file_is_durable_before_it_has_a_name_and_the_name_afterwards(tmp_path, monkeypatch):
    done, fsync, rename = [], os.fsync, os.rename

    def note_fsync(descriptor):
        done.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    def note_rename(source, target):
        done.append(f"-> {Path(target).name}")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "rename", note_rename)
    save(tmp_path / "checkpoints", 5)
    named = done.index("-> step-00000005")
    before, after = done[:named], done[named + 1 :]
    assert before[:2] == ["a.safetensors", "state.json"], "by whoever wrote them"
    assert any(name.startswith(".manifest.json") for name in before)
    assert before[-1] == ".tmp-step-00000005", "the names in it"
    assert after == ["checkpoints"]


def test_the_same_step_can_be_saved_again(tmp_path):
    save(tmp_path, 5, b"first")
    save(tmp_path, 5, b"second")
    assert (find_in(tmp_path, 5).directory / "a.safetensors").read_bytes() == b"second"
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000005"]


def find_in(directory, step):
    return next(checkpoint for checkpoint in complete_checkpoints(directory) if checkpoint.step == step)


def test_a_file_that_is_not_as_reported_is_not_published(tmp_path):
    temporary = begin(tmp_path, 1)
    with pytest.raises(CheckpointError, match="must be one file system that all hosts share"):
        publish(temporary, 1, {"a": {"bytes": 3, "sha256": ""}}, {})
    assert complete_checkpoints(tmp_path) == ()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_flipped_bit_in_any_file_is_found(data):
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        old, new = save(directory, 1), save(directory, 2)
        path = new.directory / data.draw(st.sampled_from(["a.safetensors", "state.json", "manifest.json"]))
        content = bytearray(path.read_bytes())
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=path.name):
            verify_checkpoint(new)
        found, skipped = newest_intact(directory)
        assert found == old
        assert len(skipped) == 1
        assert path.name in str(skipped[0])
        assert skipped[0].directory == new.directory


def test_verify_can_check_a_share_of_the_files(tmp_path):
    saved = save(tmp_path, 1)
    (saved.directory / "a.safetensors").write_bytes(b"State")
    values, state = saved.segments
    verify_segments(saved, [state])
    with pytest.raises(CheckpointError, match=r"a\.safetensors is damaged"):
        verify_segments(saved, [values])


def save_shared(directory, step, parts=(b"first", b"second", b"")):
    """A checkpoint whose values are in one file that several ranks have written."""
    temporary = begin(directory, step)
    (temporary / "a.safetensors").write_bytes(b"".join(parts))
    ends = [len(b"".join(parts[: rank + 1])) for rank in range(len(parts))]
    segments = [
        FileSegment("a.safetensors", end - len(part), len(part), hashlib.sha256(part).hexdigest(), rank)
        for rank, (part, end) in enumerate(zip(parts, ends, strict=True))
    ]
    return publish(temporary, step, merged_entries(segments), IDENTITY)


def test_a_damaged_segment_is_named_with_its_file_and_rank(tmp_path):
    older, saved = save(tmp_path, 1), save_shared(tmp_path, 2)
    assert saved.bytes == 11
    assert [segment.rank for segment in saved.segments] == [0, 1, 2]
    verify_checkpoint(saved)
    (saved.directory / "a.safetensors").write_bytes(b"firstsEcond")
    verify_segments(saved, [saved.segments[0], saved.segments[2]])
    message = rf"{saved.directory}/a.safetensors, bytes 5 to 11, written by rank 1, is damaged: its SHA-256"
    with pytest.raises(DamagedCheckpointError, match=message):
        verify_checkpoint(saved)
    found, (skipped,) = newest_intact(tmp_path)
    assert (found, skipped.step) == (older, 2)
    assert re.match(message, skipped.reason)


def test_states_of_both_formats_are_found_kept_and_pinned_together(tmp_path):
    layout = PathLayout(tmp_path)
    old = [with_first_manifest(save(layout.checkpoints, step)) for step in (1, 2)]
    new = [save_shared(layout.checkpoints, step) for step in (3, 4)]
    assert complete_checkpoints(layout.checkpoints) == (*old, *new)
    assert {each.manifest["format"] for each in old} == {"lrps-checkpoint/1"}
    pinned = [pin(state, layout.branch_points) for state in (old[0], new[0])]
    assert [each.manifest for each in pinned] == [old[0].manifest, new[0].manifest]
    assert [each.name for each in prune_checkpoints(layout.checkpoints, 2)] == ["step-00000001", "step-00000002"]
    for state in pinned:
        verify_checkpoint(state)
    assert newest_intact(layout.checkpoints, layout.branch_points) == (new[1], ())


def test_a_state_of_a_later_format_is_not_passed_over_for_an_older_one(tmp_path):
    save(tmp_path, 1)
    later = save(tmp_path, 2)
    text = render_manifest({**later.manifest, "format": "lrps-checkpoint/3"})
    (later.directory / "manifest.json").write_text(text)
    message = "has format 'lrps-checkpoint/3', and this lrps reads lrps-checkpoint/1 and .*/2: use the lrps that wrote"
    with pytest.raises(UnreadableCheckpointError, match=message):
        newest_complete(tmp_path)


def test_segments_that_do_not_cover_their_file_are_refused(tmp_path):
    saved = save_shared(tmp_path, 2)
    files = {"a.safetensors": {"bytes": 11, "segments": [[0, 5, ""], [6, 5, ""]]}}
    (saved.directory / "manifest.json").write_text(render_manifest({**saved.manifest, "files": files}))
    with pytest.raises(CheckpointError, match="lists a.safetensors wrongly: a segment begins at byte 6 instead of 5"):
        checkpoints.open_checkpoint(saved.directory)


@pytest.mark.parametrize("name", ["a.safetensors", "manifest.json"])
def test_what_this_host_cannot_read_is_no_damage(tmp_path, name):
    """A link to itself is an error of the file system, also for root."""
    layout = PathLayout(tmp_path)
    save(layout.checkpoints, 1)
    saved = save(layout.checkpoints, 2)
    pinned = pin(saved, layout.branch_points)
    for state in (saved, pinned):
        (state.directory / name).unlink()
        (state.directory / name).symlink_to(name)
    message = rf"{name} cannot be read on host {socket.gethostname()} \(.*stays where it is.*run again"
    for find_newest in (newest_intact, newest_complete):
        with pytest.raises(UnreadableCheckpointError, match=message):
            find_newest(layout.checkpoints)
    with pytest.raises(UnreadableCheckpointError):
        incomplete_checkpoints(layout.checkpoints)  # which `lrps prune --damaged` removes
    with pytest.raises(UnreadableCheckpointError):
        pin(save(layout.checkpoints, 2, b"STATE"), layout.branch_points)
    assert steps(layout.checkpoints) == [1, 2]
    assert damaged_ones(layout.branch_points) == ()


@pytest.mark.parametrize("name", ["a.safetensors", "state.json", "manifest.json"])
def test_a_missing_file_makes_it_incomplete(tmp_path, name):
    saved = save(tmp_path, 1)
    (saved.directory / name).unlink()
    assert complete_checkpoints(tmp_path) == ()
    found, skipped = newest_intact(tmp_path)
    assert found is None
    assert name in str(skipped[0])


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "below/a", "..", "."])
def test_a_manifest_names_no_file_elsewhere(tmp_path, name):
    saved = save(tmp_path / "checkpoints", 480)
    files = {name: {"bytes": 0, "sha256": ""}}
    manifest = render_manifest({**saved.manifest, "files": files})
    (saved.directory / "manifest.json").write_text(manifest)
    with pytest.raises(CheckpointError, match="which is not in its directory"):
        find(PathLayout(tmp_path), 480)


def test_a_name_that_no_checkpoint_has_does_not_bring_another_one_into_discredit(tmp_path):
    saved = save(tmp_path, 5)
    (tmp_path / "step-000000005").mkdir()
    assert newest_intact(tmp_path) == (saved, ())


def test_what_is_set_aside_counts_no_more_and_can_be_removed(tmp_path):
    older, newer = save(tmp_path, 1), save(tmp_path, 2, b"first")
    assert set_aside(newer.directory) == tmp_path / ".damaged-step-00000002"
    assert newest_intact(tmp_path) == (older, ())
    aside = set_aside(save(tmp_path, 2, b"second").directory)
    assert (aside / "a.safetensors").read_bytes() == b"second", "the older one made room"
    assert damaged_ones(tmp_path) == (aside,)
    assert len(prune_checkpoints(tmp_path, 1)) == 0
    remove(aside)
    assert steps(tmp_path) == [1]
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_a_renamed_checkpoint_is_not_taken_for_another_step(tmp_path):
    save(tmp_path, 1).directory.rename(tmp_path / directory_name(2))
    assert steps(tmp_path) == []


# Pins


def test_a_pin_adds_no_bytes_and_outlives_the_original(tmp_path):
    layout = PathLayout(tmp_path)
    saved = save(layout.checkpoints, 4, b"x" * 5000)
    before = contents(saved.directory)
    pinned = pin(saved, layout.branch_points)
    for name in before:
        assert os.path.samefile(saved.directory / name, pinned.directory / name)
        assert (pinned.directory / name).stat().st_mode & 0o777 == 0o444
    shutil.rmtree(saved.directory)
    verify_checkpoint(pinned)
    assert contents(pinned.directory) == before
    assert find(layout, 4) == pinned


def test_pinning_twice_is_fine_and_another_state_is_refused(tmp_path):
    layout = PathLayout(tmp_path)
    saved = save(layout.checkpoints, 4)
    assert pin(saved, layout.branch_points) == pin(saved, layout.branch_points)
    again = save(layout.checkpoints, 4, b"other")
    with pytest.raises(CheckpointError, match="a pin never changes"):
        pin(again, layout.branch_points)
    assert (layout.branch_points / "step-00000004" / "a.safetensors").read_bytes() == b"state"


def test_an_interrupted_pin_is_none(tmp_path, monkeypatch):
    layout = PathLayout(tmp_path)
    saved = save(layout.checkpoints, 4)
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            pin(saved, layout.branch_points)
    assert complete_checkpoints(layout.branch_points) == ()
    assert pin(saved, layout.branch_points).step == 4


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EPERM, errno.ENOTSUP])
def test_without_hard_links_a_pin_is_a_copy(tmp_path, monkeypatch, code):
    layout = PathLayout(tmp_path)
    saved = save(layout.checkpoints, 4)

    def refuse(*_):
        raise OSError(code, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    pinned = pin(saved, layout.branch_points)
    verify_checkpoint(pinned)
    assert contents(pinned.directory) == contents(saved.directory)
    assert not os.path.samefile(pinned.directory / "state.json", saved.directory / "state.json")


def other_file_system(here):
    """A writable directory on another file system than `here`."""
    for place in ("/dev/shm", tempfile.gettempdir(), str(Path.home())):
        if os.access(place, os.W_OK) and os.stat(place).st_dev != here.stat().st_dev:
            return place
    return pytest.skip("there is one file system here")


def test_a_pin_on_another_file_system_is_a_read_only_copy_that_outlives_the_original(tmp_path):
    saved = save(tmp_path, 4, b"x" * 5000)
    before = contents(saved.directory)
    with tempfile.TemporaryDirectory(dir=other_file_system(tmp_path)) as elsewhere:
        pinned = pin(saved, Path(elsewhere) / "branch_points")
        assert {path.stat().st_mode & 0o777 for path in pinned.directory.iterdir()} == {0o444}
        assert (saved.directory / "state.json").stat().st_mode & 0o200, "the original is as it was"
        (saved.directory / "a.safetensors").write_bytes(b"y" * 5000)
        shutil.rmtree(saved.directory)
        verify_checkpoint(pinned)
        assert contents(pinned.directory) == before
        assert pin(pinned, Path(elsewhere) / "branch_points") == pinned


def test_a_disk_that_fills_while_a_pin_is_copied_leaves_no_pin(tmp_path, monkeypatch):
    layout = PathLayout(tmp_path)
    saved = save(layout.checkpoints, 4)
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EXDEV, "another file system")))
        patch.setattr(shutil, "copyfile", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
        with pytest.raises(CheckpointError, match="cannot pin .*free disk space"):
            pin(saved, layout.branch_points)
    assert complete_checkpoints(layout.branch_points) == ()
    verify_checkpoint(pin(saved, layout.branch_points))


def test_pinning_what_is_linked_already_reads_no_state(tmp_path, monkeypatch):
    layout = PathLayout(tmp_path)
    saved = save(layout.checkpoints, 4)
    pinned = pin(saved, layout.branch_points)
    monkeypatch.setattr(checkpoints, "sha256_range", None)
    assert pin(saved, layout.branch_points) == pinned
    file = layout.branch_points / "step-00000004" / "a.safetensors"
    file.unlink()
    file.write_bytes(b"state")
    with pytest.raises(TypeError):  # A copy may differ, so that it is read.
        pin(saved, layout.branch_points)


def test_a_damaged_pin_is_replaced_by_an_intact_copy_of_the_same_state(tmp_path):
    layout = PathLayout(tmp_path)
    pinned = pin(save(layout.checkpoints, 4), layout.branch_points)
    damaged = pinned.directory / "a.safetensors"
    damaged.unlink()
    damaged.write_bytes(b"stat3")
    again = save(layout.checkpoints, 4)  # trained once more, to the same state
    verify_checkpoint(pin(again, layout.branch_points))
    assert damaged.read_bytes() == b"state"
    for directory in (layout.branch_points, layout.checkpoints):
        file = directory / "step-00000004" / "a.safetensors"
        file.unlink()
        file.write_bytes(b"stat3")
    with pytest.raises(CheckpointError, match="is damaged"):
        pin(again, layout.branch_points)
    assert damaged.exists(), "nothing is thrown away for something that is no better"


@pytest.mark.parametrize("spoil", ["flipped", "missing"])
def test_a_damaged_pin_gives_way_to_an_intact_state_of_other_bytes(tmp_path, spoil):
    layout = PathLayout(tmp_path)
    pinned = pin(save(layout.checkpoints, 4), layout.branch_points)
    damaged = pinned.directory / "a.safetensors"
    damaged.unlink()
    if spoil == "flipped":
        damaged.write_bytes(b"stat3")
    again = pin(save(layout.checkpoints, 4, b"of another world size"), layout.branch_points)
    verify_checkpoint(again)
    assert (again.directory / "a.safetensors").read_bytes() == b"of another world size"
    (aside,) = damaged_ones(layout.branch_points)
    assert (aside / "manifest.json").exists(), "nothing is deleted"


def test_find_prefers_the_pin(tmp_path):
    layout = PathLayout(tmp_path)
    pinned = pin(save(layout.checkpoints, 4), layout.branch_points)
    save(layout.checkpoints, 4, b"saved again")
    assert find(layout, 4) == pinned


def test_find_says_which_steps_exist(tmp_path):
    layout = PathLayout(tmp_path)
    with pytest.raises(CheckpointError, match="no checkpoint of step 3; there is none yet"):
        find(layout, 3)
    pin(save(layout.checkpoints, 8), layout.branch_points)
    save(layout.checkpoints, 16)
    with pytest.raises(CheckpointError, match="no checkpoint of step 3; complete are steps 8, 16"):
        find(layout, 3)


# Pruning


@settings(max_examples=40, deadline=None)
@given(
    present=st.sets(st.integers(0, 12), max_size=8),
    broken=st.sets(st.integers(0, 12), max_size=2),
    keep_last=st.integers(1, 4),
    every=st.none() | st.integers(1, 6),
)
def test_prune_keeps_what_is_newest_incomplete_or_a_multiple(present, broken, keep_last, every):
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for step in present:
            save(directory, step)
        for step in present & broken:
            (directory / directory_name(step) / "state.json").unlink()
        unfinished = begin(directory, 99)
        removed = prune_checkpoints(directory, keep_last, every)
        periodic = sorted(present - broken)
        gone = {step for step in periodic[:-keep_last] if not every or step % every}
        assert {directory_name(step) for step in gone} == {path.name for path in removed}
        left = {path.name for path in directory.iterdir()}
        assert left == {directory_name(step) for step in present - gone} | {unfinished.name}
        assert prune_checkpoints(directory, keep_last, every) == []


def test_a_prune_that_crashed_leaves_no_half_checkpoint_and_is_finished_by_the_next(tmp_path, monkeypatch):
    for step in (1, 2, 3):
        save(tmp_path, step)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.shutil, "rmtree", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            prune_checkpoints(tmp_path, 1)
    found, skipped = newest_intact(tmp_path)
    assert (found.step, skipped) == (3, ())
    assert steps(tmp_path) == [2, 3]
    prune_checkpoints(tmp_path, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000003"]


def test_what_is_young_is_not_pruned(tmp_path):
    for step, hours in ((1, 3), (2, 1), (3, 3), (4, 0)):
        manifest = save(tmp_path, step).directory / "manifest.json"
        os.utime(manifest, (time.time() - 3600 * hours,) * 2)
    assert [path.name for path in prune_checkpoints(tmp_path, 1, None, 2)] == ["step-00000001", "step-00000003"]


def test_prune_of_a_pinned_original_keeps_the_pin(tmp_path):
    layout = PathLayout(tmp_path)
    pinned = pin(save(layout.checkpoints, 1), layout.branch_points)
    save(layout.checkpoints, 2)
    assert len(prune_checkpoints(layout.checkpoints, 1)) == 1
    verify_checkpoint(pinned)


def test_keeping_none_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at least 1"):
        prune_checkpoints(tmp_path, 0)


# Disks


@pytest.mark.parametrize(
    ("code", "way_out"),
    [(errno.ENOSPC, "free disk space"), (errno.EROFS, "make the directory writable"), (errno.EIO, "fix that")],
)
def test_a_disk_that_refuses_is_explained_and_earlier_checkpoints_stay(tmp_path, monkeypatch, code, way_out):
    old = save(tmp_path, 1)

    def refuse(*_):
        raise OSError(code, os.strerror(code))

    for function in ("fsync", "rename"):
        with monkeypatch.context() as patch:
            patch.setattr(os, function, refuse)
            with pytest.raises(CheckpointError, match=way_out):
                save(tmp_path, 2)
        assert newest_intact(tmp_path)[0] == old


def test_an_unwritable_place_is_explained(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match="cannot start the checkpoint of step 1"):
        begin(tmp_path / "file", 1)
