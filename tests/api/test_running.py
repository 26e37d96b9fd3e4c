"""Tests of runs from Python: the process of the user is as before, and errors of the command become exceptions."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

import lrps
from lrps.api.running import _run_command
from support.plugins import forgotten_plugins


@contextmanager
def unchanged_process() -> Iterator[None]:
    """Check that signal handlers, filters of warnings, environment and threads are the same after the context."""

    def state() -> tuple[Any, ...]:
        handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
        return handlers, list(warnings.filters), dict(os.environ), {each.ident for each in threading.enumerate()}

    before = state()
    yield
    assert state() == before


def written(tiny_config: Path, folder: Path, **changes: Any) -> Path:
    values = yaml.safe_load(tiny_config.read_text()) | {"runs": str(folder / "runs")}
    values["paradigms"] = {"straight": {"kind": "ptfs", "alpha": 0.5}}
    values["launch"] = {"processes": 1}
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(values | changes))
    return file


@pytest.mark.slow
@pytest.mark.parametrize("in_process", [False, True])
def test_a_run_changes_nothing_of_this_process(tiny_config: Path, tmp_path: Path, in_process: bool) -> None:
    import lrps.train.job  # What importing torch and deepspeed leaves behind is not of the run.

    source: Any = written(tiny_config, tmp_path)
    if not in_process:
        source = lrps.load_config(yaml.safe_load(source.read_text()))
    with unchanged_process():
        status = lrps.run(source, in_process=in_process)
    assert {path.state for path in status.document.paths} == {"complete"}


@pytest.mark.slow
def test_a_thread_can_train_in_process(tiny_config: Path, tmp_path: Path) -> None:
    results: list[Any] = []
    file = written(tiny_config, tmp_path)
    thread = threading.Thread(target=lambda: results.append(lrps.run(file, in_process=True, versions=["v1"])))
    thread.start()
    thread.join()
    assert {path.name: path.state for path in results[0].document.paths}["straight-v1"] == "complete"


FAILING = """
import lrps, signal, os, warnings, threading

@lrps.register_callback("failing")
class Failing(lrps.Callback):
    def after_step(self, step):
        os.environ["LEFT_BEHIND"] = "1"
        raise RuntimeError("inside")
"""


@pytest.mark.slow
def test_a_failure_inside_leaves_the_process_as_it_was(tiny_config: Path, tmp_path: Path) -> None:
    import lrps.train.job

    (tmp_path / "failing.py").write_text(FAILING)
    with forgotten_plugins():
        file = written(tiny_config, tmp_path, plugins=["failing.py"], callbacks={"failing": {}})
        with unchanged_process(), pytest.raises(lrps.CallbackError, match="RuntimeError: inside"):
            lrps.run(file, in_process=True)
    assert "LEFT_BEHIND" not in os.environ


def test_importing_the_engine_keeps_environment_and_warnings() -> None:
    import subprocess

    script = (
        "import os, warnings\n"
        "import torch, transformers\n"
        "before = dict(os.environ), [f for f in warnings.filters if f[2] is FutureWarning]\n"
        "import lrps.engine.deepspeed_engine\n"
        "after = dict(os.environ), [f for f in warnings.filters if f[2] is FutureWarning]\n"
        "assert 'DS_ACCELERATOR' not in os.environ\n"
        "assert after[1] == before[1]\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "DS_ACCELERATOR"}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)


@pytest.mark.parametrize(
    ("code", "error"),
    [(2, lrps.LrpsError), (75, lrps.StoppedError), (76, lrps.DecisionNeededError), (1, lrps.TrainingError)],
)
def test_the_exit_code_of_the_command_is_an_exception_with_its_message(
    code: int, error: type[lrps.LrpsError], capsys: pytest.CaptureFixture[str]
) -> None:
    script = f"import sys; print('hello'); print('lrps: two\\nlines', file=sys.stderr); sys.exit({code})"
    with unchanged_process(), pytest.raises(error) as raised:
        _run_command([sys.executable, "-c", script])
    assert str(raised.value) == "two\nlines"
    assert raised.value.exit_code == code
    assert "hello" in capsys.readouterr().out


def test_a_mistake_is_found_before_anything_starts(tiny_config: Path, tmp_path: Path) -> None:
    file = written(tiny_config, tmp_path, launch={"processes": 2})
    with unchanged_process(), pytest.raises(lrps.ConfigError, match=r"launch.processes is 2"):
        lrps.run(file, in_process=True)


def test_a_plugin_of_this_process_only_is_refused(tiny_config: Path, tmp_path: Path) -> None:
    with forgotten_plugins():
        lrps.register_decay("only-here")(lambda progress: 1 - progress)
        paradigms = {"straight": {"kind": "ptfs", "decay": "only-here"}}
        file = written(tiny_config, tmp_path, paradigms=paradigms)
        with pytest.raises(lrps.ConfigError, match=r"decays.only-here .*registered in this process only"):
            lrps.run(file)


def test_secrets_are_not_written_into_the_run(tiny_config: Path, tmp_path: Path) -> None:
    file = written(tiny_config, tmp_path, track={"notify": {"url": "https://hooks.example.org/secret"}})
    config = lrps.load_config(file)
    with pytest.raises(lrps.ConfigError, match="has a secret"):
        lrps.run(config)
    assert not config.run_dir.exists() or "secret" not in json.dumps([str(p) for p in config.run_dir.rglob("*")])
