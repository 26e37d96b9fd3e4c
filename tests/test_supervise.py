"""What becomes of processes that do not end when they are asked to."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import pytest

from lrps.supervise import supervise

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
OBEDIENT = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(75)); time.sleep(60)"


def ask(number: signal.Signals) -> None:
    """Send this process a signal once the supervised one had time to start."""
    threading.Timer(1.0, os.kill, (os.getpid(), number)).start()


def test_the_end_of_the_grace_period_is_the_end(capfd: pytest.CaptureFixture[str]) -> None:
    ask(signal.SIGTERM)
    began = time.monotonic()
    assert supervise([sys.executable, "-c", STUBBORN], os.environ, grace_seconds=0.5) == (-signal.SIGKILL, True)
    assert 1.4 < time.monotonic() - began < 10
    assert capfd.readouterr().err.count("launch.grace_seconds, 0.5") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP])
def test_whatever_asks_is_passed_on_as_a_request_to_save(number: signal.Signals) -> None:
    ask(number)
    assert supervise([sys.executable, "-c", OBEDIENT], os.environ, grace_seconds=30) == (75, True)
