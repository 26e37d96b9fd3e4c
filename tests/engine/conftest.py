"""One launch of matrix_worker.py for all the tests that need real ranks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from support.preloaded import run_ranks

WORKER = Path(__file__).with_name("matrix_worker.py")
AVERAGES = WORKER.with_name("average_worker.py")
OPTIMIZERS = WORKER.with_name("optimizer_worker.py")


def _device(world: int) -> dict[str, str]:
    """Return the variables of ranks that choose where they train: NCCL takes one rank for each device."""
    return {"CUDA_VISIBLE_DEVICES": ""} if world > torch.cuda.device_count() else {}


@pytest.fixture(scope="session")
def matrix_directory(tmp_path_factory, worker_id):
    """Where the worker leaves what it saves, for all processes of pytest: read it after `matrix`."""
    base = tmp_path_factory.getbasetemp()
    directory = (base if worker_id == "master" else base.parent) / "matrix"
    directory.mkdir(exist_ok=True)
    return directory


@pytest.fixture(scope="session")
def matrix(matrix_directory):
    """{1: findings, 2: findings} of the worker at both world sizes, which run side by side."""
    return _findings(matrix_directory, 1, 2)


@pytest.fixture(scope="session")
def every_load(tmp_path_factory):
    """Findings of both world sizes that load every saved topology into every other one."""
    return _findings(tmp_path_factory.mktemp("every-load"), 1, 2, what=["every load"])


@pytest.fixture(scope="session")
def elastic(matrix, matrix_directory):
    """Findings of four ranks that go on from what the others left."""
    return _findings(matrix_directory, 4, what=["elastic"])[4]["elastic"]


@pytest.fixture(scope="session")
def averages(tmp_path_factory):
    """Topology -> findings of average_worker.py on one rank, in some topologies."""
    out = tmp_path_factory.mktemp("averages")
    _run(out, 1, what=["quick"], worker=AVERAGES)
    return json.loads((out / "quick-1.json").read_text())


@pytest.fixture(scope="session")
def all_averages(tmp_path_factory):
    """Findings of average_worker.py in every topology, by what it did and the number of ranks."""
    out = tmp_path_factory.mktemp("averages")
    for what in ("every", "crossed"):  # Both numbers of ranks have saved before one of them loads.
        for world in (1, 2):
            _run(out, world, what=[what], worker=AVERAGES)
    return {file.stem: json.loads(file.read_text()) for file in out.glob("*.json")}


@pytest.fixture(scope="session")
def quick_optimizers(tmp_path_factory):
    """Findings of optimizer_worker.py on two ranks, in two topologies."""
    out = tmp_path_factory.mktemp("optimizers")
    _run(out, 2, what=["quick"], worker=OPTIMIZERS)
    return json.loads((out / "quick-2.json").read_text())


@pytest.fixture(scope="session")
def all_optimizers(tmp_path_factory):
    """Findings of optimizer_worker.py in every topology, by what it did and the number of ranks."""
    out = tmp_path_factory.mktemp("optimizers")
    for what, worlds in (("save", (1, 2)), ("load", (1, 2)), ("gate", (1, 2))):
        _run(out, *worlds, what=[what], worker=OPTIMIZERS)
    return {file.stem: json.loads(file.read_text()) for file in out.glob("*.json")}


@pytest.fixture(scope="session")
def gate(tmp_path_factory):
    """{1: findings, 2: findings} of steps that pass without an update, in every topology."""
    return _findings(tmp_path_factory.mktemp("gate"), 1, 2, what=["gate"])


@pytest.fixture(scope="session")
def passed_settings(tmp_path_factory):
    """{2: findings} of every setting that is passed to DeepSpeed."""
    return _findings(tmp_path_factory.mktemp("passed"), 2, what=["passed"])


@pytest.fixture(scope="session")
def all_shared_rows(tmp_path_factory):
    """{2: findings, 4: findings} of rows that two ranks share, in every topology."""
    out = tmp_path_factory.mktemp("shared-rows")
    return {world: _findings(out, world, what=["shared rows"])[world] for world in (2, 4)}


def _findings(out, *worlds, what=()):
    """World size -> findings; the process of pytest that comes first runs the worker."""
    files = {world: out / f"world-{world}.json" for world in worlds}
    with FileLock(out / f"lock-{worlds[0]}"):
        if not all(file.exists() for file in files.values()):
            _run(out, *worlds, what=what)
    return {world: json.loads(file.read_text()) for world, file in files.items()}


def _run(out, *worlds, what=(), worker=WORKER):
    run_ranks(worker, out, *what, logs=out, groups=worlds, variables=_device)
