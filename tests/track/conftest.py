"""What tests of trackers share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from track.wandb_server import WandbServer

from lrps.track.tracker import TrackedPath


@pytest.fixture
def tracked(tmp_path: Path) -> TrackedPath:
    """A branch, with its lineage."""
    lineage = {"path": "branch-v2", "parent": "main", "branch_point_step": 40, "manifests": {"v2": "abc"}}
    return TrackedPath(
        plan="demo",
        group="demo-5eed0001",
        path="branch-v2",
        mark="5eed0002",
        job="branch",
        start=40,
        tags=("path-switching", "v2"),
        directory=tmp_path / "branch-v2",
        config={"seed": 7, "lineage": lineage},
    )


@pytest.fixture
def wandb_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """An environment without a setting of wandb, whose own files lie in the test's folder."""
    import wandb

    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "wandb" / name))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
    monkeypatch.setenv("WANDB_SERVICE_WAIT", "30")
    wandb.teardown()  # It keeps the environment that it saw first.
    yield monkeypatch
    with suppress(OSError):  # of a service that a test killed
        wandb.teardown()


@pytest.fixture
def server(wandb_here: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    """The stand-in, as the server that wandb talks to."""
    with WandbServer() as server:
        wandb_here.setenv("WANDB_BASE_URL", server.url)
        yield server
        assert server.unknown == []
