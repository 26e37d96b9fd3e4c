"""Terminals that show ASCII only, and NO_COLOR: every verb prints what they can show."""

from __future__ import annotations

import io
import os
import pty
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lrps.cli.groups import GROUPS
from lrps.cli.streams import AsciiStream, SafeStream, as_ascii, print_exactly, shows_ascii_only
from lrps.costs.planned.plan_document import write_plan_json
from lrps.plan.plan import Plan
from support.measured_run import formulas, make, trained

__all__ = ["formulas", "make", "trained"]

HOSTILE = "\x1b]0;TITLE\x07\x1b[2J\x1b[31mall is well\x1b[0m\x9b31m\u202e\x00\x7f\ttab é\n"

WALK = """
import sys
from lrps.cli import entry
for words in sys.argv[1].split(";"):
    sys.argv = ["lrps", *words.split()]
    print("VERB", *sys.argv, flush=True)
    try:
        entry.main()
    except SystemExit as end:
        print("CODE", end.code, flush=True)
"""
# Verbs that import torch end the process, so that score, doctor and repair are walked by their help only.
READING = "plan RUN;status RUN;report RUN;compare RUN;sweep RUN;ledger verify RUN;ledger repair RUN;prune RUN"
REFUSED = (
    "run RUN;train RUN main;evaluate RUN main;rehearse RUN v1;data build RUN;data fetch RUN;data verify RUN;"
    "data readers RUN v1;export RUN v1;push RUN;pull RUN;cancel RUN;"
    "plan RUN/missing"
)


@pytest.fixture(scope="module")
def run(trained: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a finished run, in a folder whose name is not ASCII."""
    runs = tmp_path_factory.mktemp("größe")
    copy = replace(trained, config=trained.config.model_copy(update={"runs": runs}))
    shutil.copytree(trained.layout.run_dir, copy.layout.run_dir)
    write_plan_json(copy)
    return copy.layout.run_dir


def verbs(run: Path) -> str:
    helps = ["--help", *(f"{verb} --help" for verbs in GROUPS.values() for verb in verbs)]
    helps += ["data build --help", "ledger verify --help"]
    return ";".join([*helps, READING, "version", REFUSED]).replace("RUN", str(run))


def environment(**changes: str) -> dict[str, str]:
    left_out = ("LANG", "LC_ALL", "LC_CTYPE", "TERM", "NO_COLOR", "PYTHONIOENCODING", "PYTHONUTF8")
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    return kept | {"PYTHONUTF8": "1"} | changes


@pytest.mark.parametrize(
    ("changes", "walk"),
    [
        ({"PYTHONIOENCODING": "ascii", "NO_COLOR": "1"}, "all"),
        ({"LC_ALL": "C", "TERM": "xterm"}, "some"),
        ({"TERM": "dumb"}, "some"),
    ],
    ids=["encoding", "locale", "dumb"],
)
def test_every_verb_prints_ascii(run: Path, changes: dict[str, str], walk: str) -> None:
    walked = verbs(run) if walk == "all" else f"--help;status {run};plan {run}/missing"
    words = [sys.executable, "-c", WALK, walked]
    done = subprocess.run(words, capture_output=True, env=environment(**changes))
    assert done.returncode == 0, done.stderr.decode()
    assert (done.stdout + done.stderr).isascii()
    assert b"\x1b" not in done.stdout + done.stderr
    assert b"Traceback" not in done.stderr
    assert b"|- branch-v2" in done.stdout, "the tree of status"
    codes = [line.split()[1] for line in done.stdout.decode().splitlines() if line.startswith("CODE")]
    assert set(codes) == {"0", "2"}, done.stderr.decode()


def test_elsewhere_the_tree_has_lines(run: Path) -> None:
    words = [sys.executable, "-c", WALK, f"status {run}"]
    done = subprocess.run(words, capture_output=True, env=environment(LANG="en_US.UTF-8", TERM="xterm"))
    assert "├─ branch-v2" in done.stdout.decode()


@pytest.mark.parametrize(("no_color", "coloured"), [("1", False), ("", True)])
def test_no_escape_codes_on_a_terminal_with_no_color(run: Path, no_color: str, coloured: bool) -> None:
    ours, theirs = pty.openpty()
    words = [sys.executable, "-c", WALK, f"plan {run};status {run};report {run};status {run} --watch"]
    changes = {"TERM": "xterm-256color", "NO_COLOR": no_color}
    process = subprocess.Popen(words, stdout=theirs, stderr=theirs, env=environment(**changes), close_fds=True)
    os.close(theirs)
    shown = bytearray()
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:  # The other side is closed.
        pass
    assert process.wait() == 0, shown.decode()
    assert (b"\x1b" in shown) == coloured, shown.decode()
    os.close(ours)


@pytest.mark.parametrize(
    ("encoding", "variables", "expected"),
    [
        ("utf-8", {}, False),
        ("UTF-8", {"LANG": "de_DE.UTF-8", "TERM": "xterm"}, False),
        ("utf-8", {"LANG": "C.UTF-8"}, False),
        ("utf-8", {"LC_ALL": "C", "LANG": "de_DE.UTF-8"}, True),
        ("utf-8", {"LC_ALL": "", "LANG": "POSIX"}, True),
        ("utf-8", {"LANG": "C", "PYTHONIOENCODING": "utf-8"}, False),
        ("utf-8", {"TERM": "dumb"}, True),
        ("ascii", {}, True),
        ("iso-8859-1", {}, True),
    ],
)
def test_which_terminals_show_ascii_only(encoding: str, variables: dict[str, str], expected: bool) -> None:
    assert shows_ascii_only(encoding, variables) == expected


def test_texts_in_ascii() -> None:
    assert as_ascii("└─ v2 ▁▄█ 3 × 4 … → ✓") == "|- v2 _=# 3 x 4 ... -> +"
    assert as_ascii("caf\u00e9 \udcff \U0001f600") == "caf\\xe9 \\udcff \\U0001f600"


def test_a_script_has_the_right_paths_on_every_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", AsciiStream(written, encoding="utf-8"))
    print_exactly("cd /data/café")
    print("of café", flush=True)
    assert written.getvalue() == "cd /data/café\nof caf".encode() + rb"\xe9" + b"\n"


@pytest.mark.parametrize("kind", [SafeStream, AsciiStream])
@pytest.mark.parametrize("exactly", [True, False])
def test_a_stream_shows_no_escape_sequence_of_foreign_text(kind: type[SafeStream], exactly: bool) -> None:
    stream = kind(io.BytesIO(), encoding="utf-8")
    (stream.write_exactly if exactly else stream.write)(HOSTILE)
    stream.flush()
    shown = stream.buffer.getvalue().decode()  # type: ignore[attr-defined]
    assert all(character.isprintable() or character in "\t\n" for character in shown)
    assert "all is well" in shown
    assert shown.endswith("\n")


def test_a_terminal_keeps_colours_and_progress_bars_and_loses_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    stream = SafeStream(io.BytesIO(), encoding="utf-8")
    of_rich = "\x1b[1;31mred\x1b[0m\r\x1b[2K\x1b[1A\x1b[?25l\x1b[?25h"
    stream.write(of_rich + HOSTILE)
    stream.flush()
    shown = stream.buffer.getvalue().decode()  # type: ignore[attr-defined]
    assert shown.startswith(of_rich)
    assert not {*"\x07\x9b\u202e\x00\x7f"} & {*shown}
    assert "\x1b]" not in shown
    assert "\x1b[2J" not in shown
