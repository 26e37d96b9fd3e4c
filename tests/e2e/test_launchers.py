"""One plan by every launcher: deepspeed over two hosts and torchrun, side by side and in a row; always the same run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
import yaml

from lrps.ledger.metrics import read_metrics
from lrps.ledger.reader import read_ledger
from lrps.ledger.totals import total
from lrps.store.checkpoints import find
from lrps.store.layout import PathLayout
from support.two_hosts import HOSTS, free_port, two_hosts, what_is_missing

pytestmark = pytest.mark.slow

LRPS = [sys.executable, "-m", "lrps.cli"]
STOPS = {"main": 28, "branch-v1": 20, "branch-v2": 40}
ON_THE_CPU = {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}


def config(tiny_config: Path, directory: Path, **launch: object) -> Path:
    """A plan of path switching alone; its main path saves a branch point after steps 8 and 28."""
    directory.mkdir(exist_ok=True)
    values = {**yaml.safe_load(tiny_config.read_text()), "runs": str(directory / "runs"), "launch": launch}
    values["paradigms"] = {"path-switching": {"alpha": 0.6}}
    file = directory / "config.yaml"
    file.write_text(yaml.safe_dump(values, sort_keys=False))
    return file


def path_of(file: Path, name: str) -> PathLayout:
    return PathLayout(file.parent / "runs" / "tiny" / name)


def run(file: Path, **environment: str) -> None:
    done = subprocess.run([*LRPS, "run", str(file)], env={**os.environ, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@contextmanager
def begun(file: Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """`lrps run` under way; a test that fails leaves nobody behind."""
    process = subprocess.Popen(
        [*LRPS, "run", str(file)],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        for each in (process, *processes_of(file)):
            with suppress(psutil.NoSuchProcess):
                each.kill()


def wait_for(process: subprocess.Popen[str], file: Path, lines: int = 1) -> None:
    """Until a file has so many lines."""
    end = time.monotonic() + 600
    while not file.exists() or file.read_bytes().count(b"\n") < lines:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, f"{file} has not {lines} lines"
        time.sleep(0.01)


def processes_of(file: Path) -> list[psutil.Process]:
    """All that train for a config, on whichever host of this machine, with their launchers."""
    return [
        each for each in psutil.process_iter(["cmdline"]) if {"train", str(file)} <= set(each.info["cmdline"] or ())
    ]


def workers_of(file: Path) -> list[psutil.Process]:
    return [each for each in processes_of(file) if each.info["cmdline"][1:4] == ["-u", "-m", "lrps.cli"]]


def assert_same(file: Path, other: Path, *names: str) -> None:
    for name in names:
        stop = STOPS[name]
        ours, theirs = path_of(file, name), path_of(other, name)
        assert [m.loss for m in read_metrics(ours.metrics)] == [m.loss for m in read_metrics(theirs.metrics)]
        assert find(ours, stop).manifest["files"] == find(theirs, stop).manifest["files"], "bit for bit"


@pytest.fixture(scope="module")
def four_ranks(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of four processes on one host, which torchrun started."""
    file = config(tiny_config, tmp_path_factory.mktemp("four"), launcher="torchrun", processes=4)
    run(file)
    return file


def hold(workers: list[psutil.Process]) -> None:
    for each in workers:
        each.suspend()


def is_told(worker: psutil.Process) -> bool:
    """True if a SIGTERM waits for a process that is held."""
    lines = Path(f"/proc/{worker.pid}/status").read_text().splitlines()
    pending = next(line.split()[1] for line in lines if line.startswith("ShdPnd:"))
    return bool(int(pending, 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.long
@pytest.mark.skipif(bool(what_is_missing()), reason=what_is_missing())
def test_two_hosts_are_one_run(tiny_config: Path, four_ranks: Path, tmp_path: Path) -> None:
    """2 hosts of 2 processes, told to stop under way: those on the hosts save, and the same command goes on."""
    (tmp_path / "hosts").write_text("".join(f"{host} slots=2\n" for host in HOSTS))
    hostfile = {"hostfile": str(tmp_path / "hosts"), "master_addr": HOSTS[0], "master_port": free_port()}
    file = config(tiny_config, tmp_path / "run", launcher="deepspeed", processes=2, **hostfile)
    with two_hosts(tmp_path) as environment:
        environment |= ON_THE_CPU
        with begun(file, **environment) as process:
            wait_for(process, path_of(file, "main").metrics, 3)
            workers = workers_of(file)
            hold(workers)
            process.send_signal(signal.SIGTERM)
            end = time.monotonic() + 600
            while not all(map(is_told, workers)):
                assert time.monotonic() < end
                time.sleep(0.05)
            for each in workers:
                each.resume()
            _, stderr = process.communicate()
            assert process.returncode == 75, stderr
            assert processes_of(file) == []
        main = total(read_ledger(path_of(file, "main").ledger))
        assert (len(workers), main.state, main.processes) == (4, "interrupted", 4)
        run(file, **environment)
    assert total(read_ledger(path_of(file, "main").ledger)).repeated_steps == 0, "it saved before it stopped"
    assert_same(file, four_ranks, *STOPS)


def test_a_branch_trains_beside_main_and_is_the_same(tiny_config: Path, tmp_path: Path) -> None:
    """Main is held still after its first branch point until the branch has trained, then told to stop."""
    in_a_row = config(tiny_config, tmp_path / "row", processes=1)
    alone = [*LRPS, "train", str(in_a_row), "main", "branch-v1"]
    subprocess.run(alone, env={**os.environ, **ON_THE_CPU}, check=True, capture_output=True)
    beside = config(tiny_config, tmp_path / "beside", processes=1, at_once=2, launcher="torchrun")
    with begun(beside, **ON_THE_CPU) as process:
        wait_for(process, path_of(beside, "main").branch_points / "step-00000008" / "manifest.json")
        (main,) = workers_of(beside)
        main.suspend()
        reached = len(read_metrics(path_of(beside, "main").metrics))
        wait_for(process, path_of(beside, "branch-v1").metrics, STOPS["branch-v1"] - 8)
        assert len(read_metrics(path_of(beside, "main").metrics)) == reached < STOPS["main"]
        # This one alone, and not by us: torchrun returns 1 for it, and the ledger tells that it has saved.
        main.terminate()
        main.resume()
        stdout, stderr = process.communicate()
    assert process.returncode == 75, stdout + stderr
    assert "branch-v1: complete" in stdout
    assert "stopped; main, branch-v2 not complete. Run the same command again to resume" in stderr
    assert_same(beside, in_a_row, "branch-v1")
    ours, theirs = (read_metrics(path_of(file, "main").metrics) for file in (beside, in_a_row))
    assert [m.loss for m in ours] == [m.loss for m in theirs[: len(ours)]]
