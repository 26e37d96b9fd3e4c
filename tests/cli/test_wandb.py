"""The verbs of `lrps wandb`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lrps.base.errors import TrackerError
from lrps.cli import app
from lrps.track.wandb import link as wandb_link


def test_the_workspace_is_printed_without_a_server(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    done = CliRunner().invoke(
        app, ["wandb", "workspace", str(repository / "configs/llama-1.2b.yaml"), "--json", "--project", "mine"]
    )
    assert done.exit_code == 0, done.output
    view = json.loads(done.stdout)
    assert (view["project"], view["displayName"]) == ("mine", "llama-1.2b: learning-rate paths")
    assert "no mark yet" in done.stderr


def test_link_is_given_the_plan_and_the_place(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(wandb_link, "link_run", lambda plan, *place: asked.append((plan.config.name, *place[:2])))
    config = str(repository / "configs/llama-1.2b.yaml")
    assert CliRunner().invoke(app, ["wandb", "link", config, "--entity", "me"]).exit_code == 0
    assert asked == [("llama-1.2b", "me", None)]


def test_a_refusal_is_the_users_to_act_on(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    done = CliRunner().invoke(app, ["wandb", "workspace", str(repository / "configs/llama-1.2b.yaml"), "--json"])
    assert isinstance(done.exception, TrackerError)
    assert done.exception.exit_code == 2
