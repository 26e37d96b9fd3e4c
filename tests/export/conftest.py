"""A tiny plan as its trainers would have left it: real shards, fragments, checkpoints and ledgers, made-up weights."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lrps.config.loader import load_config
from lrps.paths.graph import TrainingPath
from lrps.plan.plan import Plan, make_plan
from lrps.store.checkpoints import find
from support.released_run import train, trained_model, write_released_run


@pytest.fixture(scope="session")
def trained_run(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The config file of a finished plan of two versions; its run is beside it. Tests copy it."""
    file = tmp_path_factory.mktemp("released") / "config.yaml"
    write_released_run(tiny_config, file)
    return file


@pytest.fixture
def make(trained_run: Path, tmp_path: Path) -> Callable[..., Plan]:
    """make("key=value", ...) -> the plan over a copy of the trained run."""
    shutil.copytree(trained_run.parent / "runs", tmp_path / "runs")
    return lambda *settings: make_plan(load_config(trained_run, [f"runs={tmp_path / 'runs'}", *settings]))


@pytest.fixture
def plan(make: Callable[..., Plan]) -> Plan:
    return make()


@pytest.fixture(scope="session")
def truth() -> Callable[[Plan, str, int], torch.nn.Module]:
    """truth(plan, path, step) -> the model that was saved there."""
    return trained_model


@pytest.fixture(scope="session")
def train_path() -> Callable[[Plan, TrainingPath], None]:
    return train


@pytest.fixture
def damaged() -> Callable[[Plan, str, int], Path]:
    """damaged(plan, path, step) -> a file of that checkpoint of which one bit is flipped now."""

    def flip(plan: Plan, name: str, step: int) -> Path:
        file = next(find(plan.layout.path(name), step).directory.glob("*.safetensors"))
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.chmod(0o644)
        file.write_bytes(data)
        return file

    return flip
