"""The verb `forecast`, and what plan, sweep and report show of it, on ledgers whose losses follow the law exactly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from lrps.cli.app import app
from lrps.forecast import ForecastRefused
from lrps.forecast.branch import BranchPlan
from lrps.ledger.records import Counters
from lrps.ledger.writer import LedgerWriter
from lrps.paths.graph import TrainingPath
from lrps.plan.plan import make_plan
from support.measured_run import Run, config

RUNNER = CliRunner(env={"COLUMNS": "150"})


def main_loss(heldout: str, step: float) -> float:
    return 2.5 + 0.1 * int(heldout[1:]) + 12 * step**-0.5


class LawfulRun(Run):
    """A writer of a run whose main path is evaluated every 100 steps."""

    def _evaluate(self, path: TrainingPath, ledger: LedgerWriter, counters: Counters) -> None:
        for step in range(100, path.stop + 1, 100) if path.kind == "main" else (path.stop,):
            for heldout in ("v1", "v2", "v3", "v4"):
                branch = BranchPlan(path.start, path.steps, "linear")
                gain = 0.0 if path.kind == "main" else 0.06 * branch.gain_factor
                at = step if path.kind == "main" else branch.main_step
                facts = {"heldout": heldout, "loss": main_loss(heldout, at) - gain, "bits_per_byte": 1.0}
                ledger.append("evaluation", step, counters, manifest_sha256="0" * 64, rows=8, tokens=512, **facts)


def written_run(root: Path, steps: int) -> Path:
    """Write a run of four versions of so many steps, of which v1 to v3 are trained, and return its config file."""
    made = config(root, steps=steps, paradigms={"path-switching": {"alpha": 0.6}}, schedule={"peak_lr": 3e-3})
    LawfulRun(make_plan(made)).train(["main", "branch-v1", "branch-v2", "branch-v3"])
    written = root / "config.yaml"
    written.write_text(yaml.safe_dump(json.loads(made.model_dump_json(exclude_defaults=True))))
    return written


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The config of a run of versions of 1,000 steps."""
    return written_run(tmp_path_factory.mktemp("lawful"), 1_000)


def printed(*words: object) -> str:
    done = RUNNER.invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_forecast_is_the_law_and_its_charts_are_those_of_the_report(file: Path, tmp_path: Path) -> None:
    document = json.loads(printed("forecast", file, "--out", tmp_path / "forecast", "--json"))
    (row,) = (row for row in document["rows"] if row["is_planned"])
    branch = BranchPlan(3_400, 600, "linear")
    for heldout, found in row["losses"].items():
        lawful = main_loss(heldout, branch.main_step) - 0.06 * branch.gain_factor
        assert found["loss"] == pytest.approx(lawful, abs=1e-3)
    assert (document["version"], row["steps"], row["fork"]) == ("v4", 600, 3_400)
    printed("report", file, "--out", tmp_path / "report")
    of_report = {each.name: each.read_text() for each in (tmp_path / "report" / "figures").glob("forecast-*")}
    assert of_report == {each.name: each.read_text() for each in (tmp_path / "forecast").iterdir()}
    assert len(of_report) == 5
    assert 'id="forecast"' in (tmp_path / "report" / "index.html").read_text()
    (line,) = (line for line in printed("forecast", file).splitlines() if line.endswith("<- config"))
    assert f"{row['mean_loss']:.4f} +-{row['mean_half_width']:.4f}" in line


def test_plan_and_sweep_have_the_same_forecast(file: Path, tmp_path: Path) -> None:
    document = json.loads(printed("forecast", file, "--json"))
    (row,) = (row for row in document["rows"] if row["is_planned"])
    cell = f"{row['mean_loss']:.4f} +-{row['mean_half_width']:.4f}"
    assert cell in printed("plan", file)
    losses = json.loads(printed("plan", file, "--json"))["losses"]
    assert losses["branch-v4"]["forecast"] == row["mean_loss"]
    assert cell in printed("sweep", file, "--alpha", "0.6", "--versions", "4,40", "--out", tmp_path)
    points = json.loads((tmp_path / "sweep.json").read_text())["points"]
    assert [point["loss"]["refused"] for point in points] == [None, "too far ahead"]
    assert points[0]["loss"]["forecast"] == row["mean_loss"]


def test_a_run_of_short_versions_is_refused_in_words(tmp_path: Path) -> None:
    short = written_run(tmp_path, 300)
    with pytest.raises(ForecastRefused, match="version v4 adds 300 steps, and a forecast needs about 600"):
        printed("forecast", short)
    assert "- version too short" in printed("plan", short)
    printed("report", short, "--out", tmp_path / "report")
    assert 'id="forecast"' not in (tmp_path / "report" / "index.html").read_text()
