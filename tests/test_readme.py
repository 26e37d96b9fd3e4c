"""README and documents: the commands run, the links and pictures exist, and the lists of files are complete."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from support.preloaded import run_lrps
from support.values import load_tool

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
LINES = [line.split("  #")[0].strip() for block in BLOCKS for line in block.splitlines()]
COMMANDS = [line for line in LINES if line.startswith("lrps ")]


def test_it_shows_the_two_commands() -> None:
    assert {"make demo", "make test"} <= set(LINES)
    assert len(COMMANDS) == 6


@pytest.mark.slow
def test_the_commands_of_the_readme_run_one_after_the_other(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    for number in range(24):
        (tmp_path / "notes" / f"{number}.md").write_text(
            f"note {number}: the main path keeps its rate while a branch decays " * 13
        )
    for command in COMMANDS:
        done = run_lrps(*shlex.split(command)[1:], cwd=tmp_path)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        assert done.stdout
    assert "<svg" in (tmp_path / "runs/mine/report/index.html").read_text()


@pytest.mark.parametrize("target", ["demo", "demo-drift", "test", "test-wheel", "schema", "docs", "site"])
def test_make_has_its_targets(target: str, repository: Path) -> None:
    done = subprocess.run(["make", "--dry-run", target], cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_tables_of_files_are_those_of_the_docstrings(repository: Path) -> None:
    text = (repository / "docs" / "architecture.md").read_text()
    assert load_tool("architecture").page(text) == text, "run `make docs`"


def test_the_other_files_are_listed(repository: Path) -> None:
    text = (repository / "docs" / "architecture.md").read_text()
    for folder in ("launch", "configs"):
        for file in (repository / folder).rglob("*"):
            if file.is_file() and "schemas" not in file.parts:
                assert f"`{file.relative_to(repository)}`" in text


PAGES = ["CONTRIBUTING.md", "docs/architecture.md", "docs/glossary.md", "docs/method.md"]


@pytest.mark.parametrize("page", PAGES)
def test_the_files_that_a_page_names_exist(page: str, repository: Path) -> None:
    text = (repository / page).read_text()
    for name in re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.(?:py|md|yaml|j2))`", text):
        assert any((repository / folder / name).exists() for folder in ("", "lrps")), name


@pytest.mark.parametrize("page", PAGES)
def test_the_classes_that_a_page_names_exist(page: str, repository: Path) -> None:
    sources = [file.read_text() for file in (repository / "lrps").rglob("*.py")]
    classes = {name for source in sources for name in re.findall(r"^(?:class )?([A-Z]\w+)", source, re.MULTILINE)}
    named = set(re.findall(r"`([A-Z][a-z]+(?:[A-Z][a-z]+)+)(?:\.\w+)?`", (repository / page).read_text()))
    assert named <= classes | {"AutoTokenizer", "FlopCounterMode"}  # of other packages


def test_the_pictures_are_there(repository: Path) -> None:
    names = re.findall(r"!\[.+?\]\((.*?)\)", README)
    starts = {".svg": b"<svg", ".png": b"\x89PNG"}
    assert [Path(name).suffix for name in names] == [".svg", ".png"]
    assert all((repository / name).read_bytes().startswith(starts[Path(name).suffix]) for name in names)
