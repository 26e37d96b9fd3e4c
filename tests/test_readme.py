"""README and documents: the commands run, the links and pictures exist, and the file tree is complete."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
LINES = [line.split("  #")[0].strip() for block in BLOCKS for line in block.splitlines()]
COMMANDS = [line for line in LINES if line.startswith("lrps ")]


def test_it_shows_the_two_commands() -> None:
    assert {"make demo", "make test"} <= set(LINES)
    assert len(COMMANDS) >= 5


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_readme_runs(command: str, repository: Path, tmp_path: Path) -> None:
    (tmp_path / "configs").symlink_to(repository / "configs")
    words = [sys.executable, "-m", "lrps.cli", *shlex.split(command)[1:]]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize("target", ["demo", "demo-drift", "test", "schema"])
def test_make_has_its_targets(target: str, repository: Path) -> None:
    done = subprocess.run(["make", "--dry-run", target], cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_file_tree_has_one_line_a_file(repository: Path) -> None:
    tree = (repository / "docs" / "architecture.md").read_text().split("## Files")[1]
    for folder in ("lrps", "tools", "launch", "configs"):
        for file in (repository / folder).rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts and file.name != "__init__.py":
                assert re.search(rf"^\s*{re.escape(file.name)}\s+\S", tree, re.MULTILINE), (
                    f"{file} is not in docs/architecture.md"
                )


def test_the_documents_are_there(repository: Path) -> None:
    linked = set(re.findall(r"\]\((docs/\w+\.md)\)", README))
    assert linked == {f"docs/{file.name}" for file in (repository / "docs").glob("*.md")}


def test_the_pictures_are_there(repository: Path) -> None:
    names = re.findall(r"!\[.+?\]\((.*?)\)", README)
    starts = {".svg": b"<svg", ".png": b"\x89PNG"}
    assert [Path(name).suffix for name in names] == [".svg", ".png"]
    assert all((repository / name).read_bytes().startswith(starts[Path(name).suffix]) for name in names)
