"""`lrps data readers` as a person types it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lrps.base.errors import ConfigError
from lrps.cli.app import app
from lrps.config.loader import load_config
from lrps.plan.plan import make_plan
from support.plain_engine import run


def test_readers_of_a_version(tiny_config: Path, tmp_path: Path) -> None:
    settings = [f"runs={tmp_path}", "paradigms={path-switching: {alpha: 0.6}}"]
    plan = make_plan(load_config(tiny_config, settings))
    assert run(plan, "main", "branch-v1")
    options = [part for text in settings for part in ("-s", text)]
    shown = CliRunner().invoke(app, ["data", "readers", str(tiny_config), "v1", *options])
    assert shown.exit_code == 0, shown.output
    text = " ".join(shown.output.split())
    assert f"v1: paths of {plan.layout.run_dir}" in text
    assert "branch-v1" in text
    asked = CliRunner().invoke(app, ["data", "readers", str(tiny_config), "v1", "--json", *options])
    document = json.loads(asked.output)
    assert [release["sequences"] for release in document["releases"]] == [80]
    with pytest.raises(ConfigError, match="did you mean v1"):
        CliRunner().invoke(app, ["data", "readers", str(tiny_config), "v11", *options], catch_exceptions=False)
    shutil.rmtree(plan.layout.path("main").ledger)
    assert CliRunner().invoke(app, ["data", "readers", str(tiny_config), "v1", *options]).exit_code == 2
