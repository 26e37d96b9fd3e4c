"""`lrps init`: the translation of a DeepSpeed config, printed as YAML."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from lrps.base.errors import ConfigError
from lrps.cli.app import app


def test_the_translation_is_yaml_with_a_comment_for_every_line(tmp_path: Path) -> None:
    file = tmp_path / "ds.json"
    file.write_text(json.dumps({"zero_optimization": {"stage": 2, "legacy_stage1": True}, "bf16": {}}))
    found = CliRunner().invoke(app, ["init", "--from", str(file)])
    assert found.exit_code == 0
    assert yaml.safe_load(found.output) == {"engine": {"zero_stage": 2}}
    assert found.output.splitlines()[:2] == [
        "# zero_optimization.stage: became engine.zero_stage: 2",
        "# zero_optimization.legacy_stage1: refused: is broken in DeepSpeed 0.19.8, which has no such stage any more",
    ]


@pytest.mark.parametrize(
    ("text", "words"), [("{\n 'a': 1}", "ds.json:2:2: not valid JSON"), ("[]", "is a mapping of keys")]
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "ds.json"
    file.write_text(text)
    found = CliRunner().invoke(app, ["init", "--from", str(file)])
    assert isinstance(found.exception, ConfigError)
    assert words in str(found.exception)
    missing = CliRunner().invoke(app, ["init", "--from", str(tmp_path / "absent.json")])
    assert "cannot be read" in str(missing.exception)
