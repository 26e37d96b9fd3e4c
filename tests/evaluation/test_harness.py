"""lm-eval for real: `lrps score` on a task of local files, by a process that cannot reach the network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lrps.base.errors import ConfigError
from lrps.config.evaluating import LmEval
from lrps.costs.comparison import make_comparison
from lrps.evaluation import harness
from lrps.evaluation.harness import Harness
from lrps.plan import tasks
from lrps.plan.tasks import task_digest
from lrps.report.files import FORMATS

WITHOUT_NETWORK = """
import socket
def refuse(self, address, *_):
    if self.family in (socket.AF_INET, socket.AF_INET6):
        open({log!r}, "a").write(f"{{address}}\\n")
        raise OSError("no network here")
    return connect(self, address)
connect, socket.socket.connect, socket.socket.connect_ex = socket.socket.connect, refuse, refuse
lookup, socket.getaddrinfo = socket.getaddrinfo, lambda host, *_, **__: refuse(socket.socket(), host)
"""

needs_lm_eval = pytest.mark.skipif(
    shutil.which("lm_eval", path=str(Path(sys.executable).parent)) is None,
    reason="lm-eval is not installed: pip install 'lrps[eval]'",
)


def lrps(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`lrps` from another folder, with caches of its own, where every connection fails and is written down."""
    (cwd / "site").mkdir(exist_ok=True)
    (cwd / "site" / "sitecustomize.py").write_text(WITHOUT_NETWORK.format(log=str(cwd / "connections")))
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment |= {"PYTHONPATH": str(cwd / "site"), "HF_HOME": str(cwd / "hf")}
    command = [sys.executable, "-m", "lrps.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment)


@needs_lm_eval
@pytest.mark.slow
def test_a_local_task_is_scored_without_the_network(
    with_tasks: Callable[..., Any], task_files: Path, tmp_path: Path
) -> None:
    made = with_tasks(tasks=[], lm_eval={"tasks": ["words_quiz"], "include_path": str(task_files / "quiz")})
    done = lrps(tmp_path, "score", str(made.file), "--paradigm", "cpt", "--json")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "connections").exists(), "nothing was asked of the network"
    assert "[2/2] cpt-v2 (v2) on words_quiz: acc " in done.stderr
    shown = json.loads(done.stdout)
    assert shown["tasks"] == {"words_quiz": None}
    releases = shown["paradigms"]["cpt"]["releases"]
    assert [release["version"] for release in releases] == ["v1", "v2"]
    for release in releases:
        scored = release["scores"]["words_quiz"]
        assert (scored["examples"], list(scored["results"])) == (2, ["acc"])
        assert scored["results"]["acc"]["value"] in (0.0, 0.5, 1.0)
        assert scored["results"]["acc"]["higher_is_better"] is True
    assert [r["scores"] for r in shown["paradigms"]["path-switching"]["releases"]] == [{}, {}]
    again = lrps(tmp_path, "score", str(made.file), "--paradigm", "cpt")
    assert "2 models, 1 tasks: 0 results to do" in again.stderr
    comparison = make_comparison(made.plan)
    for form, files in FORMATS.items():
        assert "words_quiz" in "".join(files(comparison).values()).replace("\\_", "_"), form


@needs_lm_eval
def test_unknown_tasks_are_told_before_a_model_is_loaded(task_files: Path) -> None:
    from lm_eval.tasks import TaskManager

    wrong = Harness(LmEval(tasks=("word_quiz",), include_path=task_files / "quiz"), 1)
    wrong.__dict__["_tasks"] = TaskManager(include_path=str(task_files / "quiz"), include_defaults=False)  # seconds
    with pytest.raises(ConfigError, match=r"has no task word_quiz; did you mean 'words_quiz'\?"):
        wrong.check()


@needs_lm_eval
def test_a_task_is_its_files_and_settings(task_files: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(task_files / "quiz", tmp_path / "quiz")
    settings = LmEval(tasks=("words_quiz",), include_path=folder)
    digest = task_digest(settings, "words_quiz")
    elsewhere = shutil.copytree(folder, tmp_path / "elsewhere")
    (elsewhere / "__pycache__").mkdir()
    (elsewhere / "__pycache__" / "x.pyc").write_bytes(b"1")
    assert task_digest(settings.model_copy(update={"include_path": elsewhere}), "words_quiz") == digest
    changed = {
        "name": task_digest(settings, "other"),
        "limit": task_digest(settings.model_copy(update={"limit": 1}), "words_quiz"),
        "shots": task_digest(settings.model_copy(update={"num_fewshot": 1}), "words_quiz"),
    }
    (folder / "quiz.jsonl").write_text("")
    changed["data"] = task_digest(settings, "words_quiz")
    assert len({digest, *changed.values()}) == 1 + len(changed)


def test_without_the_extra_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise tasks.PackageNotFoundError(name)

    monkeypatch.setattr(tasks, "version", absent)
    for attempt in (lambda: task_digest(LmEval(tasks=("a",)), "a"), Harness(LmEval(tasks=("a",)), 1).check):
        with pytest.raises(ConfigError, match=r"needs lm-eval; run `pip install 'lrps\[eval\]'`"):
            attempt()


@needs_lm_eval
def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="include_path: .*nowhere is no folder"):
        task_digest(LmEval(tasks=("a",), include_path=tmp_path / "nowhere"), "a")


@pytest.mark.parametrize(
    ("table", "better", "expected"),
    [
        ({"acc,none": 0.5, "acc_stderr,none": 0.1, "alias": "quiz"}, {"acc": True}, {"acc": (0.5, 0.1, True)}),
        ({"ppl,none": 9.0, "ppl_stderr,none": "N/A"}, {"ppl": False}, {"ppl": (9.0, None, False)}),
        ({"em,strict": 1, "em_stderr,strict": 0.0, "f1,none": float("nan")}, {}, {"em,strict": (1.0, 0.0, True)}),
    ],
)
def test_numbers_of_its_tables(table: Any, better: Any, expected: Any) -> None:
    found = harness._results({"results": {"quiz": table}, "higher_is_better": {"quiz": better}}, "quiz")
    assert {name: (r.value, r.stderr, r.higher_is_better) for name, r in found.items()} == expected
    group = harness._results({"results": {"part": table}, "higher_is_better": {"part": better}}, "whole")
    assert list(group) == [f"part/{name}" for name in expected]
