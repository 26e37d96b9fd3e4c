"""`lrps compare` and `lrps sweep` as a person types them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from lrps.config.loader import load_config
from lrps.costs.planned.plan_document import write_plan_json
from lrps.plan.plan import make_plan
from support.preloaded import run_lrps as lrps
from support.values import config_values


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    """The file of a config whose run directory holds a plan.json."""
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump(config_values(runs=str(tmp_path / "runs")), sort_keys=False))
    write_plan_json(make_plan(load_config(file)))
    return file


def test_compare_a_directory_and_its_config(config_file: Path, tmp_path: Path) -> None:
    run_dir = load_config(config_file).run_dir
    of_config = json.loads(lrps("compare", config_file, "--json").stdout)
    of_run = json.loads(lrps("compare", run_dir, "--json").stdout)
    assert [row["cells"] for row in of_run["rows"]] == [row["cells"] for row in of_config["rows"]]
    assert {"path-switching", "ptfs", "cpt"} <= {row["kind"] for row in of_run["rows"]}
    done = lrps("compare", config_file, run_dir, "--format", "md,csv", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "of PTFS" in done.stdout
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"compare.md", "compare.csv"}


def test_report_into_another_directory(config_file: Path, tmp_path: Path) -> None:
    run_dir = load_config(config_file).run_dir
    done = lrps("report", config_file, "--format", "html,json,md", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        "index.html",
        "comparison.json",
        "comparison.md",
        "figures",
    }
    assert [file.name for file in run_dir.iterdir()] == ["plan.json"]


@pytest.mark.parametrize("verb", ["plan", "status", "report", "prune"])
def test_reading_verbs_take_a_copied_run_directory(config_file: Path, tmp_path: Path, verb: str) -> None:
    copy = tmp_path / "copied"
    shutil.copytree(load_config(config_file).run_dir, copy)
    of_config, of_run = (json.loads(lrps(verb, place, "--json").stdout) for place in (config_file, copy))
    assert of_run.keys() == of_config.keys()
    assert of_run.get("paradigms") == of_config.get("paradigms")
    refused = lrps(verb, copy, "-s", "seed=3")
    assert (refused.returncode, "is the directory of a run: give its config" in refused.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["report", "{config}", "--format", "html,xls"], "unknown format 'xls'"),
        (["compare", "{tmp}"], "has no plan.json"),
        (["compare", "{run}", "--format", "pdf"], "unknown format 'pdf'"),
        (["compare", "{run}", "-s", "seed=3"], "is the directory of a run: give its config"),
        (["compare", "{config}", "--format", "md", "--out", "{config}"], "name another directory with --out"),
        (["sweep", "{config}", "--alpha", "much"], "write values as"),
        (["sweep", "{config}", "--versions", "2.5"], "whole numbers"),
        *(([verb, "{config}", "--price", "free"], "2.5EUR") for verb in ("plan", "report", "compare", "sweep")),
    ],
)
def test_mistakes_are_told_in_one_line(config_file: Path, tmp_path: Path, arguments: list[str], said: str) -> None:
    places = {"tmp": tmp_path, "run": load_config(config_file).run_dir, "config": config_file}
    done = lrps(*(argument.format(**places) for argument in arguments))
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("verb", ["plan", "report", "compare", "sweep"])
def test_price_is_an_option_of_every_verb_of_costs(config_file: Path, verb: str) -> None:
    hardware = ["-s", "hardware.device=any", "-s", "hardware.peak_tflops=0.000001"]
    priced = json.loads(lrps(verb, config_file, *hardware, "--price", "2.5EUR", "--json").stdout)
    found = {
        "plan": lambda: (priced["currency"], priced["graph"]["money"], priced["graph"]["device_hours"]),
        "report": lambda: (priced["currency"], priced["graph"]["money"], priced["graph"]["device_hours"]),
        "compare": lambda: (
            priced["runs"][0]["currency"],
            *(priced["rows"][0]["cells"][key]["value"] for key in ("money", "device_hours")),
        ),
        "sweep": lambda: (
            priced["currency"],
            *(priced["points"][0]["costs"]["ptfs"][key] for key in ("money", "device_hours")),
        ),
    }
    currency, money, hours = found[verb]()
    assert (currency, money) == ("EUR", pytest.approx(2.5 * hours))
    of_run = json.loads(lrps(verb, load_config(config_file).run_dir, "--price", "3", "--json").stdout)
    assert (of_run["runs"][0] if verb == "compare" else of_run)["currency"] == "USD"


def test_sweep_writes_into_the_run_directory(config_file: Path) -> None:
    run_dir = load_config(config_file).run_dir
    done = lrps("sweep", config_file, "--alpha", "0.5", "--versions", "2,3")
    assert done.returncode == 0, done.stderr
    assert "N = 3" in done.stdout
    assert "The first increment is that of the config: T = " in done.stdout
    folder = run_dir / "report" / "sweep"
    assert {"sweep.csv", "sweep.json", "ptfs-over-alpha.svg"} <= {file.name for file in folder.iterdir()}
    again = lrps("sweep", run_dir, "--alpha", "0.5", "--versions", "2,3", "--json", "--out", run_dir / "elsewhere")
    assert json.loads(again.stdout)["points"] == json.loads((folder / "sweep.json").read_text())["points"]
    assert (run_dir / "elsewhere" / "sweep.csv").read_bytes() == (folder / "sweep.csv").read_bytes()
