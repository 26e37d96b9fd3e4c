"""The proof on a GPU, by steps of real processes: time limits, continued results, exit codes, and rehearsals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

TOOLS = Path(__file__).parents[2] / "tools"
MACHINE = {"device": "H200", "torch": "2.11"}
HOLDS, FAILS = {"x": {"holds": True, "said": "1"}}, {"x": {"holds": False, "said": "2"}}
FINDS = """
import json, sys
from gpu_findings import Findings
from pathlib import Path
found = Findings(Path(sys.argv[1]))
found.claim("holds", {holds}, "so")
found.target("fast", False, "slow")
found.figure("speed", 3)
{then}
"""


@pytest.fixture
def tools() -> Iterator[Any]:
    sys.path.insert(0, str(TOOLS))
    try:
        import gpu_process
        import gpu_proof
        import gpu_results
        import gpu_speed
        import gpu_steps
        import gpu_tests

        names = ("process", "proof", "results", "speed", "steps", "tests")
        modules = (gpu_process, gpu_proof, gpu_results, gpu_speed, gpu_steps, gpu_tests)
        yield SimpleNamespace(**dict(zip(names, modules, strict=True)))
    finally:
        sys.path.remove(str(TOOLS))


def step(tools: Any, name: str, holds: bool = True, then: str = "", **changes: Any) -> Any:
    """A step whose command is a Python program that finds something."""

    def commands(place: Any) -> list[list[str]]:
        return [[sys.executable, "-c", FINDS.format(holds=holds, then=then), str(place.found)]]

    return replace(tools.steps.STEPS[0], name=name, commands=commands, **changes)


def proof(tools: Any, folder: Path, minutes: float = 5.0, rehearsal: bool = False) -> Any:
    results = tools.results.Results(folder / "results.json", rehearsal)
    return tools.proof.Proof(results, "H200", 1, folder / "files", minutes)


def test_a_command_is_ended_with_what_it_started(tools: Any, tmp_path: Path) -> None:
    """Its child is in a session of its own, as the processes of a launcher are, and ignores SIGTERM."""
    child = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    )
    parent = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}], start_new_session=True, stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\n"
        "time.sleep(600)"
    )
    ended = tools.process.run([sys.executable, "-c", parent], tmp_path / "log", 10.0, {})
    assert ended.code is None
    assert ended.seconds < 60
    pid = int((tmp_path / "pid").read_text())
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_command_says_how_it_ended(tools: Any, tmp_path: Path) -> None:
    words = [sys.executable, "-c", "import os; print('told', os.environ['GIVEN']); raise SystemExit(4)"]
    for _ in range(2):
        ended = tools.process.run(words, tmp_path / "log", 60.0, {"GIVEN": "7"})
        assert (ended.code, ended.tail) == (4, "told 7")
    assert (tmp_path / "log").read_text() == "told 7\n" * 2


@pytest.mark.parametrize(
    ("code", "claims", "rehearsal", "status"),
    [
        (0, HOLDS, False, "proven"),
        (0, HOLDS, True, "rehearsed"),
        (0, {}, False, "failed"),
        (1, HOLDS, False, "failed"),
        (None, HOLDS, False, "out of time"),
        (None, FAILS, False, "refuted"),
        (0, {**HOLDS, "y": FAILS["x"]}, True, "refuted"),
    ],
)
def test_statuses(tools: Any, code: int | None, claims: Any, rehearsal: bool, status: str) -> None:
    assert tools.results.status_of(code, claims, rehearsal) == status


def test_results_are_written_after_every_step_and_continued(tools: Any, tmp_path: Path) -> None:
    first = proof(tools, tmp_path)
    assert first.take(step(tools, "one")).status == "proven"
    content = json.loads((tmp_path / "results.json").read_text())
    (attempt,) = content["attempts"]
    assert attempt["claims"] == {"holds": {"holds": True, "said": "so"}}
    assert (attempt["figures"], attempt["targets"]["fast"]["met"]) == ({"speed": 3}, False)
    again = proof(tools, tmp_path)
    assert again.results.last("one").counts_on(again.machine)
    assert not again.results.last("one").counts_on({**again.machine, "torch": "0"}), "another torch is another proof"
    assert again.take(step(tools, "two", holds=False)).status == "refuted"
    assert again.take(step(tools, "three", then="raise SystemExit('broken')")).tail == "broken"
    assert [each.status for each in proof(tools, tmp_path).results.attempts] == ["proven", "refuted", "failed"]


def test_findings_before_the_time_limit_are_kept(tools: Any, tmp_path: Path) -> None:
    one = proof(tools, tmp_path)
    attempt = one.take(step(tools, "one", then="import time; time.sleep(600)", seconds=10))
    assert attempt.status == "out of time"
    assert attempt.figures == {"speed": 3}
    late = proof(tools, tmp_path, minutes=0.001)
    assert late.take(step(tools, "one")).status == "left out"
    assert late.results.last("one").status == "out of time", "what was tried counts more than what was left out"


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        ({"one": "proven", "two": "proven"}, 0),
        ({"one": "proven", "two": "refuted"}, 1),
        ({"one": "failed", "two": "left out"}, 1),
        ({"one": "proven", "two": "out of time"}, 3),
        ({"one": "proven"}, 3),
        ({"one": "rehearsed", "two": "rehearsed"}, 0),
    ],
)
def test_exit_codes_are_by_what_was_proven(tools: Any, tmp_path: Path, statuses: dict[str, Any], code: int) -> None:
    results = tools.results.Results(tmp_path / "results.json", False)
    for name, status in statuses.items():
        results.add(tools.results.Attempt(name, status, 1.0, 2.0, MACHINE, "source"))
    assert results.exit_code(["one", "two"], MACHINE) == code
    assert results.exit_code(["one", "two"], {**MACHINE, "device": "A100"}) == (code or 3)


def test_a_rehearsal_is_never_taken_for_a_proof(tools: Any, tmp_path: Path) -> None:
    proof(tools, tmp_path, rehearsal=True).take(step(tools, "one"))
    content = json.loads((tmp_path / "results.json").read_text())
    assert content["proves"] == "a rehearsal with tiny models on CPUs: nothing is proven about a GPU"
    assert content["attempts"][0]["status"] == "rehearsed"
    with pytest.raises(tools.results.ResultsError, match="holds results of a rehearsal; give another file with --out"):
        tools.results.Results(tmp_path / "results.json", False)


@pytest.mark.parametrize("text", ["", "[]", '{"format": "lrps-gpu-proof/9"}', '{"format": "lrps-gpu-proof/1"}'])
def test_a_foreign_file_of_results_is_left_alone(tools: Any, tmp_path: Path, text: str) -> None:
    file = tmp_path / "results.json"
    file.write_text(text)
    with pytest.raises(tools.results.ResultsError, match="give another file with --out"):
        tools.results.Results(file, True)
    assert file.read_text() == text


def test_the_steps_fit_into_fifteen_minutes_and_have_the_largest_after_the_laws(tools: Any) -> None:
    names = [each.name for each in tools.steps.STEPS]
    assert names[0] == "engine"
    assert len(set(names)) == len(names)
    assert sum(each.seconds for each in tools.steps.steps_for(1)) <= 15 * 60
    assert "ranks" not in [each.name for each in tools.steps.steps_for(1)], "one device has no second rank"


def test_wrong_calls(tools: Any, tmp_path: Path) -> None:
    tool = [sys.executable, str(TOOLS / "gpu_proof.py")]
    bare = {"PATH": str(tmp_path), "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    for words, told in (
        (["--minutes", "1", "--only", "speeed"], "there is no step speeed"),
        (["--minutes", "0"], "give a number above 0"),
        (["--minutes", "1", "--out", str(tmp_path / "x.json")], "--cpu-rehearsal takes every step"),
    ):
        ended = subprocess.run([*tool, *words], capture_output=True, text=True, env=bare)
        assert ended.returncode == 2
        assert told in ended.stdout + ended.stderr


def test_tests_become_claims(tools: Any, tmp_path: Path) -> None:
    from gpu_findings import Findings

    report = tmp_path / "junit.xml"
    report.write_text(
        '<testsuites><testsuite><testcase classname="a" name="t1"/><testcase classname="a" name="t2"><skipped/>'
        '</testcase><testcase classname="b" name="t3"><failure/></testcase></testsuite></testsuites>'
    )
    tools.tests.judge(Findings(tmp_path / "found.json"), report)
    claims = json.loads((tmp_path / "found.json").read_text())["claims"]
    assert claims["tests of a"] == {"holds": True, "said": "1 passed, 1 skipped"}
    assert claims["tests of b"] == {"holds": False, "said": "0 passed, 0 skipped; failed: t3"}


def test_speeds_become_targets_and_the_forecast_a_claim(tools: Any, tmp_path: Path) -> None:
    from gpu_findings import Findings

    ours = {"step_seconds": 1.0, "mfu": 0.5, "peak_bytes": 100, "forecast_bytes": 120, "tokens_per_second": 9}
    programs = {"lrps": ours, "bare DeepSpeed, tuned alike": {"step_seconds": 1.0, "step_ratio": 0.99}}
    compiled = {"compile True": {"mfu": 0.62, "step_seconds": 0.8}}
    results = [{"kind": "programs", "programs": programs}, {"kind": "switches", "programs": compiled}]
    tools.speed.judge(Findings(tmp_path / "found.json"), results, True)
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["targets"]["MFU"] == {"met": True, "said": "0.620 with compile True; aim 0.6"}
    assert found["targets"]["step beside bare DeepSpeed, tuned alike"]["said"] == "1.010; aim 1.02"
    assert not found["claims"]["peak memory is that of the forecast"]["holds"]


@pytest.mark.slow
def test_the_laws_of_the_engine_are_rehearsed(tmp_path: Path) -> None:
    attempt = _rehearse(tmp_path, "engine")
    assert attempt["status"] == "rehearsed"
    claims = attempt["claims"]
    for law in ("steps equal a bare loop", "a resumed state continues bitwise", "documents of packed rows stay apart"):
        assert any(name.startswith(law) for name in claims), law
    assert {"no DeepSpeed op is built (1 ranks)"} <= claims.keys()


@pytest.mark.long
@pytest.mark.parametrize("name", ["ranks", "training", "speed", "checkpoints", "tests", "forecast"])
def test_every_other_step_is_rehearsed(tmp_path: Path, name: str) -> None:
    attempt = _rehearse(tmp_path, name)
    assert attempt["status"] == "rehearsed", attempt["tail"]


def _rehearse(tmp_path: Path, name: str) -> Any:
    out = tmp_path / "results.json"
    words = ["--minutes", "30", "--cpu-rehearsal", "--only", name, "--out", str(out)]
    began = time.monotonic()
    ended = subprocess.run([sys.executable, str(TOOLS / "gpu_proof.py"), *words], capture_output=True, text=True)
    (attempt,) = json.loads(out.read_text())["attempts"]
    assert ended.returncode == 0, (ended.stdout, attempt)
    assert attempt["seconds"] <= time.monotonic() - began
    assert "nothing is proven about a GPU" in " ".join(ended.stdout.split())
    return attempt
