"""There as a whole or not at all."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import lrps.export.directory
from lrps.base.errors import CheckpointError
from lrps.export.directory import finalize_directory, holds, new_directory

OTHER = """
import sys
from pathlib import Path
from lrps.export.directory import new_directory
with new_directory(Path(sys.argv[1])) as directory:
    (directory / "file").write_text("other")
"""


def write(final: Path, text: str) -> None:
    with new_directory(final) as temporary:
        (temporary / "file").write_text(text)
        finalize_directory(temporary, {"state": {"text": text}})


def test_a_new_directory_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    final = tmp_path / "below" / "model"
    for text in ("one", "two"):
        write(final, text)
        assert (final / "file").read_text() == text
        assert holds(final, {"text": text})
    assert [path.name for path in final.parent.iterdir()] == ["model"]


def _half(temporary: Path, error: type[BaseException]) -> None:
    (temporary / "file").write_text("half")
    raise error


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_whatever_goes_wrong_the_old_one_stays(tmp_path: Path, error: type[BaseException]) -> None:
    final = tmp_path / "model"
    write(final, "one")
    with pytest.raises(error), new_directory(final) as temporary:
        _half(temporary, error)
    assert (final / "file").read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_two_exports_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    final = tmp_path / "model"
    with new_directory(final) as mine:
        (mine / "file").write_text("mine")
        subprocess.run([sys.executable, "-c", OTHER, final], check=True)
        assert (final / "file").read_text() == "other"
        assert (mine / "file").read_text() == "mine"
    assert (final / "file").read_text() == "mine", "the last one's stays"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def dead_process() -> int:
    with subprocess.Popen(["true"]) as process:
        pass
    return process.pid


def test_what_dead_processes_of_this_host_left_is_cleared(tmp_path: Path) -> None:
    final, host = tmp_path / "model", socket.gethostname()
    names = [f".tmp-model.{host}.{dead_process()}", f".replaced-model.{host}.{dead_process()}"]
    alive = [f".tmp-model.{host}.{os.getppid()}", f".tmp-model.elsewhere.{dead_process()}"]
    write(final, "one")
    for name in (*names, *alive):
        (tmp_path / name).mkdir()
    write(final, "two")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*alive, "model"])
    assert (final / "file").read_text() == "two"


def test_a_crash_between_the_two_renames_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    final, rename = tmp_path / "model", os.rename
    write(final, "one")
    calls: list[str] = []

    def crash(source: Path, target: Path) -> None:
        calls.append(target.name)
        assert (final / "file").exists() or len(calls) > 1, "the old one is there until the new one is whole"
        if len(calls) == 2:
            raise KeyboardInterrupt
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(lrps.export.directory.os, "rename", crash)
        with pytest.raises(KeyboardInterrupt):
            write(final, "two")
    assert (final / "file").read_text() == "one"
    rename(final, tmp_path / f".replaced-model.{socket.gethostname()}.{dead_process()}")  # killed there
    with pytest.raises(RuntimeError), new_directory(final) as temporary:
        _half(temporary, RuntimeError)
    assert (final / "file").read_text() == "one"


def test_a_byte_that_differs_is_found(tmp_path: Path) -> None:
    write(tmp_path / "model", "one")
    (tmp_path / "model" / "file").write_text("onE")
    with pytest.raises(CheckpointError, match=r"model/file is not as it was exported.*--force"):
        holds(tmp_path / "model", {"text": "one"})
    assert not holds(tmp_path / "model", {"text": "one"}, force=True)


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")
    with pytest.raises(CheckpointError, match="give another --out"), new_directory(tmp_path / "file" / "model"):
        pass


@pytest.mark.parametrize("spoil", ["", "{}", "[]", '{"format": "other/1", "state": {}, "files": {}}'])
def test_facts_of_another_kind_are_not_an_export(tmp_path: Path, spoil: str) -> None:
    write(tmp_path / "model", "one")
    (tmp_path / "model" / "lrps.json").write_text(spoil)
    with pytest.raises(CheckpointError, match="did not write"):
        holds(tmp_path / "model", {"text": "one"})
