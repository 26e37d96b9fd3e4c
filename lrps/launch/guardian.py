"""A process beside a group with workers on other hosts, which nobody could reach if `lrps run` itself were killed.

Once its parent, `lrps run`, is gone, it asks the workers to save and exit, and removes the files with their
environment. Its parent ends it once the group has exited.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

WATCH_SECONDS = 5.0
"""Time between two looks at the parent, and between two requests: a worker that was starting did not get the first."""
_COMMAND_SECONDS = 60.0


def start_guardian(
    launcher: int, signal_command: Sequence[str], files: Sequence[Path], environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start the guardian of a group as a child of this process.

    launcher: process id of the group's launcher. signal_command: command that asks its workers to save and exit.
    files: removed once the launcher has exited.
    """
    numbers = map(str, (os.getpid(), launcher, WATCH_SECONDS, len(files)))
    return subprocess.Popen(
        (sys.executable, "-m", "lrps.launch.guardian", *numbers, *map(str, files), *signal_command),
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C must not reach it.
    )


def _main(parent: str, launcher: str, wait_seconds: str, count: str, *words: str) -> None:
    files, signal_command = words[: int(count)], words[int(count) :]
    watched = None
    with suppress(psutil.NoSuchProcess):
        watched = psutil.Process(int(launcher))
    while os.getppid() == int(parent):
        time.sleep(float(wait_seconds))
    while True:
        with suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(signal_command, stdin=subprocess.DEVNULL, timeout=_COMMAND_SECONDS, check=False)
        if watched is None or not watched.is_running():
            break
        time.sleep(float(wait_seconds))
    for file in files:
        Path(file).unlink(missing_ok=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
