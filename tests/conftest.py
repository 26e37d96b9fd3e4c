"""Fixtures for the tests of all packages: small configs, a tiny plan on disk, and an S3 server."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, settings

from lrps.config.loader import load_config
from lrps.config.models import Config
from lrps.data.build.build import build_data
from support.mlflow_server import running_mlflow
from support.values import config_values, tiny_values

# On shared machines the time of an example means nothing. `make test` tries the same examples every time, so that a
# change is judged by itself; `make test-newest`, whose failures are warnings, tries new ones.
settings.register_profile("new-examples", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same-examples", settings.get_profile("new-examples"), derandomize=True)
settings.load_profile("same-examples")

# DeepSpeed imports its Muon, whose functions torch.compile decorates: without this every process of a test that trains
# imports the compiler too, 2.4 of 12 CPU seconds. The test that compiles layers sets it back.
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")

REPOSITORY = Path(__file__).parent.parent

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that runs the tests in the background ignores SIGINT, and the processes of the tests would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files with slow tests first, so that none of them starts when all other workers have nothing left."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a local server of MLflow."""
    with running_mlflow(tmp_path_factory.mktemp("mlflow")) as address:
        yield address


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return REPOSITORY


@pytest.fixture(scope="session")
def make_config() -> Callable[..., Config]:
    """A function from changes of top-level keys to a small config."""
    return lambda **changes: Config.model_validate(config_values(**changes))


def write_text(file: Path, seed: int, documents: int = 60) -> None:
    """Write documents whose words follow each other with some regularity, so that a model can learn from them."""
    rng = random.Random(seed)
    words = ["path", "switch", "rate", "decay", "branch", "token", "main", "step"]
    with open(file, "w", encoding="utf-8") as lines:
        for _ in range(documents):
            start = rng.randrange(len(words))
            text = " ".join(words[(start + i * i) % len(words)] for i in range(rng.randrange(20, 40)))
            lines.write(json.dumps({"text": text}) + "\n")


@pytest.fixture(scope="session")
def tiny_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a config with shards: 3 versions of 20 steps each, of which the config names 2."""
    root = tmp_path_factory.mktemp("tiny")
    for k in (1, 2, 3):
        write_text(root / f"v{k}.jsonl", seed=k)
    file = root / "config.yaml"
    file.write_text(yaml.safe_dump(tiny_values(root, versions=3), sort_keys=False))
    build_data(load_config(file))
    file.write_text(yaml.safe_dump(tiny_values(root, versions=2), sort_keys=False))
    return file


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Any]:
    """A real S3 server on loopback."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def s3(s3_server: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, bytes], None]:
    """A function that puts an object into the bucket `lake`. Credentials and endpoint are in the environment."""
    import boto3
    import fsspec

    environment = {
        "AWS_ENDPOINT_URL": "http://{}:{}".format(*s3_server.get_host_and_port()),
        "AWS_ACCESS_KEY_ID": "planted-key-id",
        "AWS_SECRET_ACCESS_KEY": "planted-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    client = boto3.client("s3")
    client.create_bucket(Bucket="lake")
    return lambda key, content: client.put_object(Bucket="lake", Key=key, Body=content)
