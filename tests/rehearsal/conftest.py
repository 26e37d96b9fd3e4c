"""Two tiny models, and a plan whose rehearsal set they write."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from lrps.config.loader import load_config
from lrps.plan.plan import Plan, make_plan
from support.rehearsal_models import letters_model, save_model


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Models of some thousand parameters only wait for each other's threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def base_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("models") / "base", letters_model(1))


@pytest.fixture(scope="session")
def latest_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("models") / "latest", letters_model(2))


@pytest.fixture
def set_plan(tiny_config: Path, base_model: Path, latest_model: Path, tmp_path: Path) -> Callable[..., Plan]:
    """A plan with a set `r` of 20 rows of 16 tokens, of version v1; its shards and its run are the test's own."""
    values = yaml.safe_load(tiny_config.read_text())
    shutil.copytree(values["data"]["root"], tmp_path / "shards")
    values["data"]["root"], values["runs"] = str(tmp_path / "shards"), str(tmp_path / "runs")

    def plan(tokens: int | None = 320, **synthesis: Any) -> Plan:
        settings = {
            "of": "v1",
            "base": str(base_model),
            "latest": str(latest_model),
            "demonstration_share": 0.1,
            "min_demonstrations": 1,
            "prefix_tokens": 4,
            "max_tokens": 24,
            "clusters": 3,
            "batch_size": 4,
            **synthesis,
        }
        made = {"name": "r", "since": "v2", "synthesis": {k: v for k, v in settings.items() if v is not None}}
        values["data"]["rehearsal"] = [made if tokens is None else {**made, "tokens": tokens}]
        file = tmp_path / "config.yaml"
        file.write_text(yaml.safe_dump(values, sort_keys=False))
        return make_plan(load_config(file))

    return plan
