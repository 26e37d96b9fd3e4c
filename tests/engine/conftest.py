"""One launch of matrix_worker.py for all the tests that need real ranks."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

WORKER = Path(__file__).with_name("matrix_worker.py")
ROOT = WORKER.parents[2]


def _environment(world: int, rank: int, port: int) -> dict[str, str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    if world > 1:  # World size 1 runs without a launcher's variables.
        ranks = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
        environment.update(ranks, MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    return environment


@pytest.fixture(scope="session")
def matrix_directory(tmp_path_factory):
    """Where the worker leaves what it saves: read it after `matrix`."""
    return tmp_path_factory.mktemp("matrix")


@pytest.fixture(scope="session")
def matrix(matrix_directory):
    """{1: findings, 2: findings} of the worker at both world sizes, which run side by side."""
    return _run(matrix_directory, 1, 2)


@pytest.fixture(scope="session")
def elastic(matrix, matrix_directory):
    """Findings of four ranks that go on from what the others left."""
    return _run(matrix_directory, 4, what=["elastic"])[4]["elastic"]


def _run(out, *worlds, what=()):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    workers, logs = [], []
    for world in worlds:
        for rank in range(world):
            logs.append(out / f"log-{world}-{rank}.txt")
            with open(logs[-1], "wb") as log:
                command = [sys.executable, str(WORKER), str(out), *what]
                environment = _environment(world, rank, port)
                workers.append(subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT))
    try:
        codes = [worker.wait(timeout=400) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    told = "\n".join(log.read_text()[-3000:] for log in logs)
    assert codes == [0] * sum(worlds), told
    return {world: json.loads((out / f"world-{world}.json").read_text()) for world in worlds}
