"""Being asked to stop, in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

WAITER = """
import time
from lrps.train.signals import StopRequest
stop = StopRequest()
print("ready", flush=True)
while not stop.seen:
    time.sleep(0.01)
print("asked", flush=True)
time.sleep(3600)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGINT])
def test_a_signal_is_a_request_and_a_second_ctrl_c_is_the_end(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", WAITER], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.stdout.readline() == "asked\n"
        process.send_signal(signal.SIGTERM)
        assert process.poll() is None, "asked twice to end politely, it still saves"
        process.send_signal(signal.SIGINT)
        assert process.wait() == 75
