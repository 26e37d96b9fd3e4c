"""There as a whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from lrps.errors import CheckpointError
from lrps.export.directory import holds, new_directory, seal_directory


def write(final: Path, text: str) -> None:
    with new_directory(final) as temporary:
        (temporary / "file").write_text(text)
        seal_directory(temporary, {"state": {"text": text}})


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
