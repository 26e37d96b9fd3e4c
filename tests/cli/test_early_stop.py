"""Signals to a command that still imports."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

STARTING = "import sys, time; sys.argv = ['', {verb!r}]; import lrps.cli; print('ready', flush=True); time.sleep(99)"


@pytest.mark.parametrize(("verb", "code"), [("train", 75), ("evaluate", 75), ("plan", -signal.SIGTERM)])
def test_a_worker_that_is_asked_to_stop_before_it_begins_can_be_resumed(verb: str, code: int) -> None:
    command = [sys.executable, "-c", STARTING.format(verb=verb)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait() == code
