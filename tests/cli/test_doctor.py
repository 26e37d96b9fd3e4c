"""`lrps doctor` as a person types it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lrps.base.errors import ConfigError
from lrps.cli import app
from lrps.doctor import catalogue
from support.preloaded import run_lrps


def test_a_sound_config(tiny_config: Path, tmp_path: Path) -> None:
    done = run_lrps("doctor", tiny_config, "-s", f"runs={tmp_path}", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("ok    config         config:")
    assert "two gloo processes: right" in done.stdout
    assert lines[-1].endswith("0 fail")
    assert list(tmp_path.iterdir()) == [], "nothing stays"


def test_failures_are_reported_with_how_to_fix_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(catalogue, "CHECKS", tuple(check for check in catalogue.CHECKS if not check.slow))
    (tmp_path / "wrong.yaml").write_text("nme: x\n")
    done = CliRunner().invoke(app, ["doctor", "wrong.yaml", "--json"])
    assert done.exit_code == 2, done.output
    document = json.loads(done.stdout)
    config, *machine = document["findings"]
    assert (document["ok"], config["state"], bool(config["way_out"])) == (False, "fail", True)
    assert "did you mean 'name'" in config["what"]
    assert {each["area"] for each in machine} == {"versions", "devices", "file system", "communication", "tracking"}
    assert [file.name for file in tmp_path.iterdir()] == ["wrong.yaml"]


def test_nodes_need_a_config() -> None:
    done = CliRunner().invoke(app, ["doctor", "--nodes"])
    assert isinstance(done.exception, ConfigError)
    assert "lrps doctor CONFIG --nodes" in str(done.exception)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interruption_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-u", "-m", "lrps.cli", "doctor"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "op cache" in line:  # The next check writes the large file.
                break
        time.sleep(0.4)
        process.send_signal(number)
        assert process.wait() != 0
    assert list(tmp_path.iterdir()) == []
