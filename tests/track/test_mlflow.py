"""Tests of the MLflow tracker: found by its entry point; against a local server one run for all attempts at a path."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from lrps.base.errors import ConfigError
from lrps.config.extensions import TRACKERS
from lrps.plan.plan import load_plan
from lrps.track.trackers import check_trackers
from support.plain_engine import run
from support.plugins import forgotten_plugins


@pytest.fixture(autouse=True)
def _installed(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Offer the entry point of setup.py as the installed package does, whatever is installed here."""
    found = re.search(r'"lrps.trackers": \["(.*?)"\]', (repository / "setup.py").read_text())
    assert found is not None
    info = tmp_path / "site" / "lrps_of_this_checkout-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lrps-of-this-checkout\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text(f"[lrps.trackers]\n{found[1]}\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    with forgotten_plugins():
        yield


def configured(tiny_config: Path, folder: Path, address: str) -> Path:
    values = yaml.safe_load(tiny_config.read_text()) | {"runs": str(folder / "runs")}
    values["track"] = {"trackers": ["mlflow"], "options": {"mlflow": {"uri": address}}, "log_every_steps": 4}
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(values))
    return file


def test_a_config_names_it_by_its_entry_point(
    tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "mlflow" in TRACKERS.names
    plan = load_plan(configured(tiny_config, tmp_path, "http://127.0.0.1:1"))
    check_trackers(plan.config.track)
    monkeypatch.setattr("lrps.track.trackers.find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=r"mlflow is not installed; run `pip install 'lrps\[mlflow\]'`"):
        check_trackers(plan.config.track)


@pytest.mark.long
def test_a_path_is_one_run_over_its_attempts(
    tiny_config: Path, tmp_path: Path, mlflow_server: str, capfd: pytest.CaptureFixture[str]
) -> None:
    from mlflow import MlflowClient

    plan = load_plan(configured(tiny_config, tmp_path, mlflow_server))
    assert not run(plan, "main", stop_after=9)
    assert run(plan, "main")
    client = MlflowClient(mlflow_server)
    (experiment,) = [each for each in client.search_experiments() if each.name.startswith("tiny-")]
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.run_name.startswith("main-")
    assert found.info.status == "FINISHED"
    assert re.fullmatch("[0-9a-f]{64}", found.data.tags["lrps.ledger_sha256"])
    steps = [each.step for each in client.get_metric_history(found.info.run_id, "train/loss")]
    assert steps == sorted(steps)
    assert set(range(4, plan.graph.by_name["main"].stop + 1, 4)) <= set(steps)
    assert capfd.readouterr().out.isascii()
