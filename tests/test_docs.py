"""The pages of docs/: links and anchors exist, the site builds, commands run."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from support.preloaded import run_lrps

REPOSITORY = Path(__file__).parents[1]
DOCS = REPOSITORY / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
WITHOUT_CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
PLANS = (DOCS / "plans.md").read_text()
COMMANDS = [line.split("  #")[0].strip() for line in PLANS.split("```")[1].splitlines() if line.startswith("lrps ")]


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip()) for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, REPOSITORY / "README.md"], ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", WITHOUT_CODE.sub("", page.read_text())):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.is_file(), f"{page.name}: {target}"
        assert page.name == "README.md" or DOCS in file.parents, f"{page.name}: {target} is not part of the site"
        assert not anchor or anchor in anchors(file), f"{page.name}: {target} is no heading of {file.name}"


def test_every_page_is_in_the_index_and_in_the_navigation() -> None:
    names = {page.relative_to(DOCS).as_posix() for page in PAGES} - {"index.md"}
    linked = set(re.findall(r"\]\(([\w/-]+\.md)\)", (DOCS / "index.md").read_text()))
    assert linked == names
    text = (REPOSITORY / "mkdocs.yml").read_text()
    assert set(re.findall(r"- ([\w/-]+\.md)$", text, re.MULTILINE)) == names | {"index.md"}
    assert yaml.safe_load(text)["strict"] is True


@pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="mkdocs is not installed: `make site`")
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "guides/own-text.html").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_plans_runs(command: str, tmp_path: Path) -> None:
    (tmp_path / "configs").symlink_to(REPOSITORY / "configs")
    done = run_lrps(*shlex.split(command)[1:], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def commands(text: str) -> list[str]:
    """Return the arguments of all commands `lrps ...` in code blocks and inline code."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    inline = re.findall(r"`lrps ([a-z][^`\n]*)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
    return [*inline, *re.findall(r"^lrps ([a-z].*)$", "\n".join(blocks), re.MULTILINE)]


def test_a_page_names_only_verbs_and_options_that_exist() -> None:
    from typer.main import get_command

    from lrps.cli.app import app

    root = get_command(app)
    for page in PAGES:
        for line in commands(page.read_text()):
            words = re.split(r"\s#|[|;&]", line.replace("\\", ""))[0].split()
            command, name = root, "lrps"
            while words and hasattr(command, "commands") and words[0] in command.commands:
                name = f"{name} {words[0]}"
                command = command.commands[words.pop(0)]
            assert command is not root, f"{page.name}: lrps {' '.join(words)}"
            known = {option for each in command.params for option in (*each.opts, *each.secondary_opts)} | {"--help"}
            given = {word.partition("=")[0].strip("(),.:") for word in words if word.startswith("--")}
            assert given <= known or hasattr(command, "commands"), f"{page.name}: {name} {given - known}"
