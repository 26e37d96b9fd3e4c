"""Files are written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lrps.base import files
from lrps.base.files import (
    apply_umask,
    atomic_write_json,
    atomic_write_text,
    located,
    make_read_only,
    regular_file,
    sha256_file,
    write_once,
)


def test_text_replaces_the_old_content(tmp_path):
    path = tmp_path / "a.txt"
    atomic_write_text(path, "one")
    atomic_write_text(path, "zwei – 二\n")
    assert path.read_bytes() == "zwei – 二\n".encode()
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_json_is_sorted_and_ends_in_a_newline(tmp_path):
    path = tmp_path / "a.json"
    atomic_write_json(path, {"b": 1, "a": [1.5, None]})
    assert json.loads(path.read_text()) == {"a": [1.5, None], "b": 1}
    assert path.read_text().index('"a"') < path.read_text().index('"b"')
    assert path.read_text().endswith("}\n")


def test_of_several_writers_at_once_the_first_wins(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    with ThreadPoolExecutor(8) as pool:
        monkeypatch.setattr(files.os, "getpid", threading.get_ident)  # as if each were a process of its own
        list(pool.map(lambda number: write_once(path, f"writer {number}"), range(50)))
    assert re.fullmatch(r"writer \d+", text := path.read_text())
    write_once(path, "late")
    assert path.read_text() == text
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_file_system_without_hard_links_has_the_file_too(tmp_path, monkeypatch):
    monkeypatch.setattr(files.os, "link", lambda *_: (_ for _ in ()).throw(PermissionError(1, "not permitted")))
    write_once(tmp_path / "a.txt", "one")
    assert (tmp_path / "a.txt").read_text() == "one"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_leaves_the_old_content_and_no_litter(tmp_path, monkeypatch, step):
    path = tmp_path / "a.txt"
    atomic_write_text(path, "old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, step, fail)
    with pytest.raises(OSError, match="No space"):
        atomic_write_text(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_what_killed_writers_left_is_removed_by_the_next_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    left, young, others = (tmp_path / f".{name}.tmp" for name in ("a.txt.77", "a.txt.78", "b.txt.77"))
    for file in (left, young, others):
        file.write_text("half")
    for file in (left, others):
        os.utime(file, (1e9, 1e9))
    atomic_write_text(path, "whole")
    assert {p.name for p in tmp_path.iterdir()} == {"a.txt", young.name, others.name}


def test_a_file_gets_the_permissions_of_new_files(tmp_path):
    made, new = tmp_path / "made", tmp_path / "new"
    made.touch(mode=0o600)
    new.touch()
    apply_umask(made)
    assert made.stat().st_mode == new.stat().st_mode


def test_a_file_that_never_changes_is_read_by_whom_new_files_are(tmp_path):
    made, new = tmp_path / "made", tmp_path / "new"
    made.touch(mode=0o600)
    new.touch()
    make_read_only(made)
    assert made.stat().st_mode == new.stat().st_mode & ~0o222


def test_what_is_no_json_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        atomic_write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_content_is_durable_before_its_name_is(tmp_path, monkeypatch):
    order = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(files.os, name, lambda *a, name=name, real=real: (order.append(name), real(*a))[1])
    atomic_write_text(tmp_path / "a.txt", "x")
    assert order == ["fsync", "replace", "fsync"]


def test_sha256(tmp_path):
    content = os.urandom(3_000_000)
    (tmp_path / "a").write_bytes(content)
    assert sha256_file(tmp_path / "a") == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("size", [0, 1, 7, 8, 22])
def test_sha256_hands_over_what_it_reads(tmp_path, monkeypatch, size):
    monkeypatch.setattr(files, "_PIECE", 7)
    content, received = os.urandom(size), {}
    (tmp_path / "a").write_bytes(content)
    assert sha256_file(tmp_path / "a", lambda offset, piece: received.update({offset: bytes(piece)})) == (
        hashlib.sha256(content).hexdigest()
    )
    assert received == {offset: content[offset : offset + 7] for offset in range(0, size, 7)}


@pytest.mark.parametrize("kind", ["pipe", "device", "directory"])
def test_what_is_no_regular_file_is_not_waited_for(tmp_path, kind):
    path = tmp_path / "given"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    fault = "Is a directory" if kind == "directory" else "is no regular file"
    with pytest.raises(OSError, match=fault):
        regular_file(path, os.O_RDONLY)
    with pytest.raises(OSError, match=fault):
        sha256_file(path)


def test_a_relative_path_is_shown_with_its_absolute_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert located(Path("data/../v1.jsonl")) == f"data/../v1.jsonl ({tmp_path}/v1.jsonl)"
    assert located(tmp_path / "v1.jsonl") == f"{tmp_path}/v1.jsonl"
