"""`lrps config`: the resolved config without its secrets, and the schema."""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from lrps.cli.app import app
from lrps.config.loader import load_config
from support.values import config_values


def show(*arguments: str) -> str:
    found = CliRunner().invoke(app, ["config", "show", *arguments])
    assert found.exit_code == 0, found.exception
    return found.stdout


def test_a_resolved_config_is_a_config_with_the_same_values(repository: Path, tmp_path: Path) -> None:
    for file in sorted((repository / "configs").glob("*.yaml")):
        resolved = tmp_path / file.name
        resolved.write_text(show(str(file), "-s", "seed=5"))
        assert load_config(resolved) == load_config(file, ["seed=5"])


def test_secrets_are_concealed(tmp_path: Path) -> None:
    secrets = {
        "track": {"notify": {"url": "https://hooks.example/planted-path"}},
        "launch": {"slurm": {"setup": "export KEY=planted-key", "directives": ["--comment=planted-comment"]}},
    }
    values = config_values(**secrets)
    values["data"]["versions"][0]["url"] = "s3://user:planted-password@bucket/v1?signature=planted-query"
    file = tmp_path / "a.yaml"
    file.write_text(yaml.safe_dump(values))
    for shown in (show(str(file)), show(str(file), "--json")):
        assert "planted" not in shown
        assert "hooks.example" in shown


def test_the_schema_is_that_of_editors(repository: Path) -> None:
    schema = json.loads(CliRunner().invoke(app, ["config", "schema"]).stdout)
    assert schema == json.loads((repository / "configs/schema.json").read_text())
    Draft202012Validator.check_schema(schema)
