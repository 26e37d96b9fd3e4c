"""Several processes do what one does, and end together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from lrps.data.build.pool import available_processes, run_all

WORK = """
    import os, signal, sys, time
    from pathlib import Path
    from lrps.data.build.pool import run_all
    from lrps.base.errors import DataError

    def square(number, progress):
        progress(number)
        return number * number

    def fail_at_once_or_take_long(number, progress):
        if number == 0:
            time.sleep(0.5)
            raise DataError("number 0 is no good")
        time.sleep(3600)

    def interrupt_itself(number, progress):
        os.kill(os.getpid(), signal.SIGINT)
        return number

    def say_who_and_wait(folder, progress):
        (folder / str(os.getpid())).touch()
        time.sleep(3600)
"""


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], list[str]]:
    def write(main: str) -> list[str]:
        # Where the tests run in the background of a script, the shell has told everything to ignore Ctrl-C.
        hears = "signal.signal(signal.SIGINT, signal.default_int_handler)"
        body = textwrap.indent(f"import signal\n{hears}\n{textwrap.dedent(main)}", "    ")
        (tmp_path / "work.py").write_text(f'{textwrap.dedent(WORK)}\nif __name__ == "__main__":\n{body}\n')
        return [sys.executable, str(tmp_path / "work.py")]

    return write


def test_one_process_needs_no_pool() -> None:
    seen: list[int] = []
    here = run_all(lambda number, progress: progress(number) or os.getpid(), [1, 2], 1, seen.append)
    assert (here, seen) == ([os.getpid()] * 2, [1, 2])
    assert run_all(lambda number, progress: number, [], 4, seen.append) == []
    assert 1 <= available_processes() <= (os.cpu_count() or 1)


@pytest.mark.slow
def test_results_are_in_order_and_progress_adds_up(script) -> None:
    command = script("seen = []; print(run_all(square, range(40), 2, seen.append), sum(seen))")
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (f"{[n * n for n in range(40)]} {sum(range(40))}\n", "")


@pytest.mark.slow
def test_an_error_ends_all_workers_at_once(script) -> None:
    done = subprocess.run(
        script("run_all(fail_at_once_or_take_long, range(9), 2, print)"), capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "lrps.base.errors.DataError: number 0 is no good"


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_the_process_that_started_them(end, script, tmp_path) -> None:
    folder = tmp_path / "workers"
    folder.mkdir()
    main = subprocess.Popen(
        script(f"run_all(say_who_and_wait, [Path({str(folder)!r})] * 4, 2, print)"),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    wait_until(lambda: len(list(folder.iterdir())) == 2)
    workers = [int(path.name) for path in folder.iterdir()]
    if end == signal.SIGINT:
        os.killpg(main.pid, end)  # as the terminal does
    else:
        main.send_signal(end)
    _, errors = main.communicate()
    wait_until(lambda: not any(psutil.pid_exists(pid) and running(pid) for pid in workers))
    if end == signal.SIGINT:
        assert errors.splitlines()[-1] == "KeyboardInterrupt", errors
        assert "SpawnProcess" not in errors, "one traceback is enough"


@pytest.mark.slow
def test_workers_leave_ctrl_c_to_the_process_that_started_them(script) -> None:
    done = subprocess.run(
        script("print(run_all(interrupt_itself, range(4), 2, lambda count: None))"),
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("[0, 1, 2, 3]\n", "")


@pytest.mark.slow
def test_ctrl_c_while_the_workers_start_is_one_traceback(script, tmp_path) -> None:
    main = subprocess.Popen(
        script(f"run_all(say_who_and_wait, [Path({str(tmp_path)!r})] * 4, 2, print)"),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    # The tracker of semaphores, and a worker that has just begun.
    wait_until(lambda: len(psutil.Process(main.pid).children()) >= 2)
    os.killpg(main.pid, signal.SIGINT)
    _, errors = main.communicate()
    assert errors.splitlines()[-1] == "KeyboardInterrupt", errors
    assert errors.count("Traceback") == 1, errors


def running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.05)
