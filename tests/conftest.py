"""What tests of several packages share: small configs, and a tiny plan on disk."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from lrps.config.loader import load_config
from lrps.config.models import Config
from lrps.data.build import build_data
from tests_support import config_values, tiny_values

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return REPOSITORY


@pytest.fixture(scope="session")
def make_config() -> Callable[..., Config]:
    """Config with some top-level keys replaced."""
    return lambda **changes: Config.model_validate(config_values(**changes))


def write_text(file: Path, seed: int, documents: int = 60) -> None:
    """Documents of words that follow each other with some regularity, so that there is something to learn."""
    rng = random.Random(seed)
    words = ["path", "switch", "rate", "decay", "branch", "token", "main", "step"]
    with open(file, "w", encoding="utf-8") as lines:
        for _ in range(documents):
            start = rng.randrange(len(words))
            text = " ".join(words[(start + i * i) % len(words)] for i in range(rng.randrange(20, 40)))
            lines.write(json.dumps({"text": text}) + "\n")


@pytest.fixture(scope="session")
def tiny_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a config whose shards are built: 3 versions, of which the config names 2; 20 steps each."""
    root = tmp_path_factory.mktemp("tiny")
    for k in (1, 2, 3):
        write_text(root / f"v{k}.jsonl", seed=k)
    file = root / "config.yaml"
    file.write_text(yaml.safe_dump(tiny_values(root, versions=3), sort_keys=False))
    build_data(load_config(file))
    file.write_text(yaml.safe_dump(tiny_values(root, versions=2), sort_keys=False))
    return file
