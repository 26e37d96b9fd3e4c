"""Directories and object stores behind the same verbs; what goes wrong is told with the way out and without secrets."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lrps.base.errors import ConfigError, TransferError
from lrps.store.copy.run_store import DirectoryStore, ObjectStore, RunStore, open_run_store

CONTENT = bytes(range(256)) * 100


@pytest.fixture(params=["directory", "file", "memory", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> RunStore:
    """One place of every kind, empty."""
    if request.param == "s3":
        request.getfixturevalue("s3")
    addresses = {
        "directory": str(tmp_path / "a place"),
        "file": f"file://{tmp_path}/a%20place",
        "memory": f"memory://{tmp_path.name}/place",
        "s3": f"s3://lake/{tmp_path.name}/place/",
    }
    return open_run_store(addresses[request.param])


def test_every_place_holds_what_it_is_given(place: RunStore, tmp_path: Path) -> None:
    file, moved = tmp_path / "file", list[int]()
    file.write_bytes(CONTENT)
    assert place.sizes() == {}
    assert place.read("main/path.json") is None
    place.put(file, "main/checkpoints/step-00000001/a", moved.append)
    place.write("main/path.json", b"{}")
    place.copy("main/checkpoints/step-00000001/a", "main/branch_points/step-00000001/a")
    place.copy("main/checkpoints/step-00000001/a", "main/branch_points/step-00000001/a")
    assert place.sizes() == {
        "main/branch_points/step-00000001/a": len(CONTENT),
        "main/checkpoints/step-00000001/a": len(CONTENT),
        "main/path.json": 2,
    }
    place.write("main/path.json", b"{} ")
    assert place.read("main/path.json") == b"{} "
    place.get("main/branch_points/step-00000001/a", tmp_path / "got", lambda _: None)
    assert (tmp_path / "got").read_bytes() == CONTENT
    place.remove("main/path.json")
    place.remove("main/path.json")
    assert "main/path.json" not in place.sizes()
    with pytest.raises(TransferError, match="run the same command again to continue"):
        place.get("main/absent", tmp_path / "absent", lambda _: None)


def test_the_names_of_a_neighbour_are_not_seen(s3: Callable[[str, bytes], None], tmp_path: Path) -> None:
    s3("runs/tiny/main/path.json", b"mine")
    s3("runs/tiny-2/main/path.json", b"another's")
    assert open_run_store("s3://lake/runs/tiny").sizes() == {"main/path.json": 4}


def test_bytes_have_one_inode_where_there_are_links(tmp_path: Path) -> None:
    place = DirectoryStore(tmp_path)
    place.write("a", CONTENT)
    place.copy("a", "b")
    assert (tmp_path / "a").stat().st_ino == (tmp_path / "b").stat().st_ino
    place.write("a", b"new")
    assert (tmp_path / "b").read_bytes() == CONTENT, "a file is replaced, never written over"


def test_without_links_bytes_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(18, "another file system")))
    place = DirectoryStore(tmp_path)
    place.write("a", CONTENT)
    place.copy("a", "b")
    assert (tmp_path / "b").read_bytes() == CONTENT
    assert (tmp_path / "a").stat().st_ino != (tmp_path / "b").stat().st_ino


def test_what_breaks_off_leaves_the_old_file(tmp_path: Path) -> None:
    place = DirectoryStore(tmp_path / "place")
    place.write("a", b"old")
    (tmp_path / "file").write_bytes(CONTENT)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(TransferError, match="cannot write .*free disk space; then run the same command again"):
        place.put(tmp_path / "file", "a", full)
    assert [path.name for path in place.root.iterdir()] == ["a"]
    assert place.read("a") == b"old"


def test_a_link_in_a_directory_that_came_from_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "main").mkdir()
    (tmp_path / "main" / "wandb").mkdir()
    (tmp_path / "main" / "wandb" / "latest").symlink_to("run")
    assert DirectoryStore(tmp_path).sizes() == {}, "the tracker's links are no part of a run"
    (tmp_path / "secret").write_text("of this machine")
    (tmp_path / "main" / "metrics.jsonl").symlink_to(tmp_path / "secret")
    with pytest.raises(TransferError, match="metrics.jsonl is a symbolic link"):
        DirectoryStore(tmp_path).sizes()
    assert DirectoryStore(tmp_path, follow_links=True).sizes()["main/metrics.jsonl"] == 15
    (tmp_path / "main" / "metrics.jsonl").unlink()
    (tmp_path / "elsewhere").symlink_to("/etc")
    with pytest.raises(TransferError, match="elsewhere is a symbolic link"):
        DirectoryStore(tmp_path).sizes()


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("s3://key:pl4nted@bucket/run", "s3://bucket/run: other users can see command lines"),
        ("s3://bucket/run?key=pl4nted", "other users can see command lines"),
        ("pipe:curl pl4nted", "pipe:...: other users"),
        ("https://host/run", "give an object store or a directory"),
    ],
)
def test_an_address_that_holds_a_secret_or_cannot_be_written_is_refused(address: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_run_store(address)
    assert told in str(caught.value)
    assert "pl4nted" not in str(caught.value)


def test_a_scheme_that_nothing_knows(tmp_path: Path) -> None:
    with pytest.raises(TransferError, match="Protocol not known: nosuch; correct the address"):
        open_run_store("nosuch://bucket/run")


@pytest.mark.parametrize(("scheme", "package", "extra"), [("s3", "s3fs", "s3"), ("gs", "gcsfs", "gs")])
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, scheme: str, package: str, extra: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(importlib.import_module("fsspec.registry")._registry, scheme, raising=False)
    with pytest.raises(TransferError, match=rf"pip install 'lrps\[{extra}\]'"):
        open_run_store(f"{scheme}://bucket/run")


def test_a_bucket_that_is_not_there(s3: Callable[[str, bytes], None], tmp_path: Path) -> None:
    place = open_run_store("s3://no-such-bucket/run")
    assert place.sizes() == {}
    with pytest.raises(TransferError, match="a cannot be written: .*bucket.*then run the same command"):
        place.write("a", b"")


def test_a_store_that_lets_nobody_in_or_is_away(
    s3: Callable[[str, bytes], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = open_run_store("s3://lake/run")
    assert isinstance(place, ObjectStore)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("Access Denied for planted-secret")

    monkeypatch.setattr(place._fs, "find", refuse)
    with pytest.raises(TransferError, match="cannot be listed: Access Denied for [*]{3}; give this user"):
        place.sizes()
    monkeypatch.setattr(place._fs, "find", lambda *_, **__: (_ for _ in ()).throw(ConnectionError("gone")))
    with pytest.raises(TransferError, match="gone; correct that; then run the same command again"):
        place.sizes()
