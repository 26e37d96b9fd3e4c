"""Tests of registries: registration by a file and by an entry point, errors that list what there is, and hashes."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lrps.base.errors import ConfigError
from lrps.base.plugins.source import execute_file
from lrps.config.extensions import DECAYS
from support.plugins import QUADRATIC, forgotten_plugins, install


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    with forgotten_plugins():
        yield


def written(folder: Path, text: str, name: str = "shapes.py") -> Path:
    file = folder / name
    file.write_text(text)
    return file


def test_a_file_registers_with_its_version_and_hash(tmp_path: Path) -> None:
    file = written(tmp_path, QUADRATIC)
    execute_file(file)
    execute_file(file)
    found = DECAYS.get("quadratic")
    assert found.value(0.5) == 0.25
    assert found.source.to_json() == {"version": "1.2", "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    assert DECAYS.is_found_by_workers("quadratic")
    assert "quadratic" in DECAYS.names


def test_an_unknown_name_lists_what_there_is_with_the_nearest(tmp_path: Path) -> None:
    execute_file(written(tmp_path, QUADRATIC))
    with pytest.raises(ValueError, match=r"must be one of linear, .*, quadratic; did you mean 'quadratic'\?"):
        DECAYS.check("quadratc")


def test_an_entry_point_is_listed_and_imported_only_when_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "def half(progress):\n    return 1 - progress\n"
    install(tmp_path, "installed_shapes", text, "lrps.decays", "half = installed_shapes:half")
    monkeypatch.syspath_prepend(tmp_path)
    assert "half" in DECAYS.names
    assert "installed_shapes" not in sys.modules
    found = DECAYS.get("half")
    assert found.value(0.25) == 0.75
    sha256 = hashlib.sha256((tmp_path / "installed_shapes.py").read_bytes()).hexdigest()
    assert found.source.to_json() == {"version": "3.1", "sha256": sha256}
    assert DECAYS.is_found_by_workers("half")


def test_what_is_installed_meanwhile_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry points of installed distributions are read again once a folder of the path has changed."""
    monkeypatch.syspath_prepend(tmp_path)
    assert "half" not in DECAYS.names
    install(
        tmp_path,
        "installed_later",
        "def half(progress):\n    return 1 - progress\n",
        "lrps.decays",
        "half = installed_later:half",
    )
    assert "half" in DECAYS.names
    assert DECAYS.get("half").value(0.25) == 0.75


def test_an_entry_point_may_name_what_its_module_registers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(
        tmp_path, "installed_square", QUADRATIC, "lrps.decays", "quadratic = installed_square:quadratic", version="7.0"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert DECAYS.get("quadratic").source.version == "7.0"


def test_two_distributions_with_one_name_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "def half(progress):\n    return 1 - progress\n"
    for module in ("installed_a", "installed_b"):
        install(tmp_path, module, text, "lrps.decays", f"half = {module}:half")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"installed_a 3.1 .* and installed_b 3.1 .* both have an entry point 'half'"):
        DECAYS.get("half")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import lrps\n\nno_such_name\n", r"shapes.py: .*shapes.py:3: NameError: name 'no_such_name' is not defined"),
        ("def broken(:\n    pass\n", r"shapes.py: .*shapes.py:1: SyntaxError"),
        ("import no_such_module\n", r"shapes.py:1: ModuleNotFoundError"),
        ("import lrps\nlrps.register_decay('linear')(lambda p: 1 - p)\n", r"'linear' is built into lrps"),
        ("import lrps\nlrps.register_decay('a b')(lambda p: 1 - p)\n", r"'a b' is no name for a plug-in"),
        ("import lrps\nlrps.register_decay('up')(lambda p: p)\n", r"'up' goes from 0 to 1; a decay shape falls from 1"),
        ("import lrps\nlrps.register_decay('bad')(lambda p: 1 / 0)\n", r"shapes.py:2: ZeroDivisionError"),
    ],
)
def test_faults_of_a_plugin_are_clear(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        execute_file(written(tmp_path, text))
    assert not set(DECAYS.names) - set(DECAYS.builtin)


def test_a_failing_entry_point_has_file_and_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "installed_bad", "\nimport no_such_module\n", "lrps.decays", "bad = installed_bad:bad")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"decays.bad of installed_bad 3.1 .*installed_bad.py:2: ModuleNotFoundError"):
        DECAYS.get("bad")


def test_a_file_that_changes_within_a_process_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path, QUADRATIC)
    execute_file(file)
    before = hashlib.sha256(file.read_bytes()).hexdigest()
    written(tmp_path, QUADRATIC + "\n# changed\n")
    with pytest.raises(ConfigError, match=f"has changed since this process loaded it \\(SHA-256 {before} then"):
        execute_file(file)


def test_a_name_never_changes_its_meaning(tmp_path: Path) -> None:
    execute_file(written(tmp_path, QUADRATIC))
    with pytest.raises(
        ConfigError, match=r"other.py registers 'quadratic', which is registered already by .*shapes.py"
    ):
        execute_file(written(tmp_path, QUADRATIC + "# another file\n", "other.py"))


def test_what_only_this_process_registers_is_not_found_by_workers() -> None:
    DECAYS.register("here", lambda progress: 1 - progress)
    assert not DECAYS.is_found_by_workers("here")
    assert DECAYS.get("here").source.file == Path(__file__)
