"""The verbs as a person types them: output, exit codes, messages without tracebacks."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from lrps import __version__
from lrps.cli import app
from support.preloaded import run_lrps as lrps
from support.values import config_values


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump(config_values(runs=str(tmp_path / "runs")), sort_keys=False))
    return file


CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_every_shipped_config_plans(file: Path, repository: Path) -> None:
    done = lrps("plan", str(file), "--json", cwd=repository)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert all(paradigm["total_steps"] > 0 for paradigm in document["paradigms"].values())
    assert all(paradigm["total_flops"] for paradigm in document["paradigms"].values()), "its model can be counted"


def plan_of(name: str, repository: Path, *more: str) -> Any:
    done = lrps("plan", f"configs/{name}.yaml", "--json", *more, cwd=repository)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_paper_size_plan(repository: Path) -> None:
    document = plan_of("llama-1.2b", repository)
    increment = 10_500_000_000 // 2048 // 512
    assert [version["steps"] for version in document["versions"]] == [increment] * 4
    branch = round(increment * 0.6)
    totals = {name: paradigm["total_steps"] for name, paradigm in document["paradigms"].items()}
    assert totals == {"path-switching": 4 * increment + 3 * branch, "ptfs": 10 * increment, "cpt": 4 * increment}
    assert document["paradigms"]["path-switching"]["ratio_to_ptfs"] == pytest.approx(0.58, abs=1e-4)
    assert document["marginal"]["path-switching"]["total_steps"] == increment + branch
    assert document["next"]["ptfs"]["total_steps"] == 5 * increment
    # LLaMA-1.2B: 22 layers of 4 d^2 + 3 d f and two norms, two embeddings, a norm.
    d, f = 2048, 5504
    parameters = 22 * (4 * d * d + 3 * d * f + 2 * d) + d + 2 * 32000 * d
    flops = 6 * (parameters - 32000 * d) + 12 * 22 * d * 2048
    cpt = document["paradigms"]["cpt"]
    assert cpt["total_flops"] == flops * 4 * increment * 512 * 2048
    assert cpt["device_hours"] == pytest.approx(cpt["total_flops"] / (989e12 * 0.4 * 3600))
    assert cpt["money"] is None


def test_a_price_makes_money(repository: Path) -> None:
    price = "hardware.price_per_device_hour={amount: 2.5, source: a contract, date: '2026-01-31'}"
    cpt = plan_of("llama-1.2b", repository, "-s", price)["paradigms"]["cpt"]
    assert cpt["money"] == pytest.approx(2.5 * cpt["device_hours"])


def test_plan_json_holds_the_contract(config_file: Path) -> None:
    document = json.loads(lrps("plan", str(config_file), "--json").stdout)
    paradigm = document["paradigms"]["path-switching"]
    assert {"total_steps", "total_tokens", "total_flops", "ratio_to_ptfs", "paths"} <= paradigm.keys()
    branch = next(path for path in paradigm["paths"] if path["name"] == "branch-v2")
    assert branch["parent"] == {"path": "main", "step": 140}
    assert (branch["start_step"], branch["stop_step"], branch["lr_start"], branch["lr_stop"]) == (140, 200, 1e-2, 0.0)
    assert branch["data"] == [{"source": "v2", "from_row": 80, "to_row": 200}]


@pytest.mark.parametrize("verb", ["plan", "status"])
def test_tables_name_every_path(verb: str, config_file: Path) -> None:
    done = lrps(verb, str(config_file))
    assert done.returncode == 0, done.stderr
    for name in ("main", "branch-v1", "branch-v4", "ptfs-v4", "cpt-v2"):
        assert name in done.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["plan", "CONFIG", "-s", "schedule.peek_lr=1"], "did you mean 'peak_lr'?"),
        (["plan", "missing.yaml"], f"missing.yaml ({os.getcwd()}/missing.yaml): no such config file"),
        (["run", "CONFIG"], "/nowhere) for version v1"),
        (["run", "CONFIG", "--paradigm", "magic"], "--paradigm magic: the config has path-switching, ptfs, cpt"),
        (["data", "build", "CONFIG"], "no version has `text:`"),
        (["data", "verify", "CONFIG"], f"nowhere ({os.getcwd()}/nowhere) has no manifests"),
        (["report", "CONFIG", "--format", "pdf"], "html"),
        (["run", "CONFIG", "--launcher", "magic"], "launch.launcher"),
        (["export", "CONFIG"], "name the paths to export, or give --version"),
        (["export", "CONFIG", "branch-v2"], "has no checkpoint of step 200; there is none yet. Train the path first"),
        (["export", "CONFIG", "branch-v2", "--dtype", "int4"], "--dtype int4: take fp32 or bf16"),
        (["export", "CONFIG", "branch-v2", "--max-shard-size", "big"], "--max-shard-size big: give a size such as 5GB"),
        (
            ["export", "CONFIG", "--version", "v1", "--out", "DIR"],
            "--out takes one model, but 2 states are selected; name one path",
        ),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_2(arguments: list[str], told: str, config_file: Path) -> None:
    done = lrps(*(argument.replace("CONFIG", str(config_file)) for argument in arguments))
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_dry_run_prints_the_command_and_writes_nothing(config_file: Path) -> None:
    done = lrps("run", str(config_file), "--dry-run", "-s", "launch.processes=2")
    assert done.returncode == 0
    assert f"--module lrps.cli train {config_file} --set launch.processes=2 main branch-v1" in done.stdout
    assert not (config_file.parent / "runs").exists()


def test_help_teaches(repository: Path) -> None:
    assert "lrps demo" in lrps("--help").stdout
    for verb in ("plan", "run", "train", "evaluate", "status", "report", "export"):
        assert "CONFIG" in lrps(verb, "--help").stdout


def test_the_help_lists_every_verb_in_the_order_of_use_and_cuts_no_line() -> None:
    environment = {**os.environ, "COLUMNS": "80"}
    shown = lrps("--help", env=environment).stdout
    listed = re.findall(r"^  ([a-z]+) +[A-Z]", shown, re.M)
    assert listed[:6] == ["demo", "init", "config", "plan", "run", "status"]
    hidden = {name for name, command in typer.main.get_command(app).commands.items() if command.hidden}  # type: ignore[attr-defined]
    assert {*listed} == {*typer.main.get_command(app).commands} - hidden  # type: ignore[attr-defined]
    assert "..." not in shown.partition("Options:")[2]
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("module", ["lrps", "lrps.cli"])
def test_the_version_and_both_modules(module: str) -> None:
    done = subprocess.run([sys.executable, "-m", module, "--version"], capture_output=True, text=True)
    assert done.stdout == f"lrps {__version__}\n"


ENDING = """
import atexit, ctypes, sys, types
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
cli = import_module("lrps.cli.entry")
sys.modules["torch"] = types.ModuleType("torch")
libc = ctypes.CDLL(None)
libc.__cxa_atexit(ctypes.cast(libc.abort, ctypes.c_void_p), None, None)
atexit.register(print, "cleaned up")
pool = ThreadPoolExecutor()
pool.submit(print, "written")
def job():
    sys.exit(75)
cli.app = lambda **_: job()
cli.main()
"""


def test_a_library_that_aborts_at_exit_changes_no_exit_code() -> None:
    """As torch does now and then: `terminate called without an active exception`, 134."""
    done = subprocess.run([sys.executable, "-c", ENDING], capture_output=True, text=True)
    assert (done.returncode, done.stdout.split("\n")[:2]) == (75, ["written", "cleaned up"]), done.stderr
