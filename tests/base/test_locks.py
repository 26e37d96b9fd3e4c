"""One trainer a path."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lrps.base.errors import LineageError
from lrps.base.locks import is_locked, last_host, path_lock

HOLDER = """
import sys
from pathlib import Path
from lrps.base.locks import path_lock
with path_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_second_one_is_told_who_holds_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "held\n"
        assert is_locked(tmp_path)
        with pytest.raises(LineageError, match=f"process {holder.pid} on"), path_lock(tmp_path):
            pass
        holder.kill()
    assert not is_locked(tmp_path), "the lock of a process that was killed is free"


def test_it_is_free_again_afterwards(tmp_path: Path) -> None:
    for _ in range(2):
        with path_lock(tmp_path / "new"):
            assert str(os.getpid()) in (tmp_path / "new" / "lock").read_text()
    assert not is_locked(tmp_path / "new")
    assert not is_locked(tmp_path / "never")


def test_a_glance_at_the_lock_does_not_keep_a_trainer_out(tmp_path: Path) -> None:
    with path_lock(tmp_path):
        pass
    with open(tmp_path / "lock", encoding="utf-8") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)  # what is_locked holds for a moment
        threading.Timer(0.2, lambda: fcntl.flock(looking, fcntl.LOCK_UN)).start()
        with path_lock(tmp_path):
            pass


def test_the_host_of_the_last_trainer_stays_known(tmp_path: Path) -> None:
    assert last_host(tmp_path) is None
    for _ in range(2):
        with path_lock(tmp_path):
            assert last_host(tmp_path) == socket.gethostname()
    assert last_host(tmp_path) == socket.gethostname()
    (tmp_path / "lock").write_bytes(b"\xff\xfe")
    assert last_host(tmp_path), "whatever the file holds"
