"""`lrps status --watch` as a person starts it, while a run is written beside it through the real writers."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lrps.base.document import to_json
from lrps.base.locks import path_lock
from lrps.costs.status_document import status_document
from lrps.ledger.metrics import Metrics, MetricsWriter
from lrps.ledger.records import FORMAT, Counters
from lrps.ledger.writer import LedgerWriter
from lrps.plan.plan import Plan
from lrps.plan.status import plan_status
from lrps.report.watch import watch

CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def config_file(plan: Plan) -> Path:
    file = plan.layout.run_dir.parent.parent / "config.yaml"
    file.write_text(yaml.safe_dump(plan.config.model_dump(mode="json", exclude_defaults=True), sort_keys=False))
    return file


def command(plan: Plan, *more: str) -> list[str]:
    return [sys.executable, "-m", "lrps.cli", "status", str(config_file(plan)), "--watch", "--every", "0.1", *more]


class Screen:
    """A process in a terminal of 120 x 30, and everything it has written there."""

    def __init__(self, arguments: list[str]) -> None:
        self.terminal, end = pty.openpty()
        fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 120, 0, 0))
        environment = {**os.environ, "TERM": "xterm-256color"}
        for name in ("COLUMNS", "LINES"):  # of tests that run side by side; they would go before the terminal
            environment.pop(name, None)
        self.process = subprocess.Popen(
            arguments, stdin=end, stdout=end, stderr=end, env=environment, start_new_session=True
        )
        os.close(end)
        self.written = ""

    def read(self) -> bool:
        """Take what there is; False when the process is gone."""
        if not select.select([self.terminal], [], [], 0.1)[0]:
            return True
        try:
            data = os.read(self.terminal, 65536)
        except OSError:  # how Linux tells that the other end was closed
            return False
        self.written += data.decode(errors="replace")
        return bool(data)

    @property
    def view(self) -> str:
        """The last view, without colours."""
        return CONTROL.sub("", re.split(r"\x1b\[1A\x1b\[2K", self.written)[-1])

    def wait_for(self, text: str, after: int = 0) -> None:
        deadline = time.monotonic() + 600
        while text not in CONTROL.sub("", self.written[after:]):
            assert time.monotonic() < deadline, f"no {text!r} in {self.view}"
            assert self.read(), f"it ended before {text!r}: {self.view}"

    def end(self) -> int:
        while self.read():
            pass
        return self.process.wait()


@pytest.fixture
def screens() -> Iterator[Any]:
    """screens(arguments) -> Screen; none outlives its test."""
    opened: list[Screen] = []

    def open_one(arguments: list[str]) -> Screen:
        opened.append(Screen(arguments))
        return opened[-1]

    yield open_one
    for screen in opened:
        if screen.process.poll() is None:
            screen.process.kill()
        screen.process.wait()
        os.close(screen.terminal)


class Trainer:
    """Logs steps of the main path."""

    def __init__(self, plan: Plan) -> None:
        layout = plan.layout.path("main")
        self.ledger, self.metrics = LedgerWriter(layout.ledger), MetricsWriter(layout.metrics)
        self.ledger.append("start", 0, Counters(), format=FORMAT, path_start=0, device="cpu", processes=2)

    def log(self, step: int) -> None:
        self.metrics.write(Metrics(step, step * 256, 5 - step / 1000, 1e-3, None, 12_300.0))
        self.ledger.append("heartbeat", step, Counters(steps=step, allocated_seconds=step / 5))


def test_a_run_from_before_it_begins_until_it_is_killed(make: Any, screens: Any) -> None:
    plan = make()
    screen = screens(command(plan))
    screen.wait_for("0 of 9,400 steps")
    assert not plan.layout.run_dir.exists(), "a reader makes nothing"
    with path_lock(plan.layout.path("main").directory):
        screen.wait_for("running")
        trainer = Trainer(plan)
        for step in (100, 200, 300):
            trainer.log(step)
            screen.wait_for(f"{step}/1,700")
        screen.wait_for("12.3K")
        screen.wait_for("4.7000")
        trainer.metrics._file.append(b'{"step": 400, "loss":')
        trainer.ledger.path.rename(trainer.ledger.path.with_suffix(".moved"))
        screen.wait_for("planned", after=len(screen.written))
        trainer.ledger.path.with_suffix(".moved").rename(trainer.ledger.path)
        screen.wait_for("300/1,700", after=len(screen.written))
    assert screen.end() == 1, "the lock is free and the last record is a heartbeat"
    assert "failed" in screen.view
    assert "Traceback" not in screen.written
    assert screen.written.count("\x1b[?25h") >= 1, "the cursor is back"


def test_ctrl_c_ends_it_with_0_and_leaves_the_view(make: Any, formulas: Any, screens: Any) -> None:
    plan = make()
    formulas.Run(plan).train(["main"], stop_at={"main": 850}, fail_at={"main": (700, 600)})
    screen = screens(command(plan))
    screen.wait_for("850/1,700")
    screen.process.send_signal(signal.SIGINT)
    assert screen.end() == 0
    assert "interrupted" in screen.view
    assert "to come" in screen.view
    assert "Traceback" not in screen.written


def test_lines_where_there_is_no_terminal(make: Any, formulas: Any) -> None:
    plan = make()
    formulas.Run(plan).train(["main"], stop_at={"main": 850})
    with subprocess.Popen(command(plan), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(7)]
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    assert [line[9:] for line in lines[::3]] == ["small: waiting: 1 interrupted, 11 planned\n"] * 3
    assert lines[2].startswith("  main: interrupted, step 850 of 1,700, loss ")
    assert "\x1b" not in "".join(lines) + rest


def test_a_finished_graph_ends_it(trained: Any) -> None:
    done = subprocess.run(command(trained, "--json"), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = done.stdout.splitlines()
    document = json.loads(line)
    expected = json.loads(json.dumps(to_json(status_document(trained, plan_status(trained)))))
    assert document | {"time": ""} == expected | {"time": ""}, "what `lrps status --json` says"
    assert document["state"] == "complete"


def test_only_a_new_failure_ends_it(make: Any, formulas: Any, capsys: Any, monkeypatch: Any) -> None:
    """An old one is waited over until it is run again; then it counts like any other."""
    plan = make()
    run = formulas.Run(plan).train(["ptfs-v1"], stop_at={"ptfs-v1": 300})

    def die() -> None:
        facts = {"format": FORMAT, "path_start": 0, "device": "cpu", "processes": 2}
        LedgerWriter(plan.layout.path("ptfs-v1").ledger).append("start", 300, Counters(), **facts)

    die()
    deeds = iter([lambda: None, lambda: run.train(["ptfs-v1"], stop_at={"ptfs-v1": 400}), die])
    monkeypatch.setattr("lrps.report.watch.time.sleep", lambda seconds: next(deeds)())
    assert watch(plan, 1.0, as_json=True) == 1
    looks = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    failed = [{path["name"] for path in look["paths"] if path["state"] == "failed"} for look in looks]
    assert failed == [{"ptfs-v1"}, {"ptfs-v1"}, set(), {"ptfs-v1"}]
