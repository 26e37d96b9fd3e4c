"""Tests of the functions of the API on a run that is trained without DeepSpeed: values, frames and HTML."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

import lrps
from support.plain_engine import run as train


@pytest.fixture(scope="module")
def trained(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The config file of a run whose paths are all trained."""
    folder = tmp_path_factory.mktemp("api")
    values = yaml.safe_load(tiny_config.read_text()) | {"runs": str(folder / "runs")}
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(values))
    plan = lrps.compile_plan(file).plan
    assert train(plan, *plan.graph.by_name)
    return file


def drawn(result: Any) -> str:
    """Return the HTML of a result, whose SVG drawings are well-formed."""
    html = str(result._repr_html_())
    assert "<table>" in html
    for part in html.split("<svg")[1:]:
        ElementTree.fromstring("<svg" + part.split("</svg>")[0] + "</svg>")
    return html


def test_a_config_is_a_file_a_mapping_or_an_object(trained: Path) -> None:
    values = yaml.safe_load(trained.read_text())
    config = lrps.load_config(trained)
    assert lrps.load_config(values) == config == lrps.load_config(str(trained)) == lrps.load_config(config)
    assert lrps.load_config(values, ["seed=3"]).seed == 3
    assert values == yaml.safe_load(trained.read_text()), "the mapping is not changed"
    with pytest.raises(lrps.ConfigError, match=r"config: schedule.peek_lr: unknown key; did you mean 'peak_lr'\?"):
        lrps.load_config({**values, "schedule": {**values["schedule"], "peek_lr": 1}})


def test_a_plan_has_typed_values_a_frame_and_drawings(trained: Path) -> None:
    result = lrps.compile_plan(trained)
    assert result.plan.graph.by_name["branch-v2"].stop == 40
    assert result.document.plan.name == "tiny"
    assert result.to_json()["name"] == "tiny"
    frame = result.to_frame()
    assert list(frame["version"]) == ["v1", "v2"]
    assert drawn(result).count("<svg") >= 2
    assert "data versions" in str(result)


def test_status_compare_and_audit_of_a_run(trained: Path) -> None:
    run_dir = lrps.load_config(trained).run_dir
    state = lrps.status(trained)
    assert {path.state for path in state.document.paths} == {"complete"}
    assert drawn(state).count("<svg") >= 2
    assert set(state.to_frame()["state"]) == {"complete"}
    compared = lrps.compare(trained)
    assert len(compared.to_frame()) == len(compared.document.rows)
    assert drawn(compared).count("<svg") >= 3
    audit = lrps.audit_run(trained, recompute_rows=True)
    assert audit.document.ok
    assert audit.document.recomputed_rows
    assert json.dumps(audit.to_json())
    assert run_dir.is_dir()
    with pytest.raises(lrps.ConfigError, match="at least one run"):
        lrps.compare()


def test_a_forecast_that_the_law_does_not_allow_says_why(trained: Path) -> None:
    with pytest.raises((lrps.ForecastRefused, lrps.ConfigError)) as refused:
        lrps.forecast_version(trained, "v9")
    assert "v9" in str(refused.value) or refused.value


def test_a_released_model_is_exported(trained: Path, tmp_path: Path) -> None:
    (exported,) = lrps.export_model(trained, "branch-v2", out=tmp_path / "model")
    assert exported.made
    assert (tmp_path / "model" / "config.json").exists()
    with pytest.raises(lrps.ConfigError, match="dtype fp8: take fp32 or bf16"):
        lrps.export_model(trained, "branch-v2", dtype="fp8")


def test_a_frame_without_pandas_is_a_clear_error(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def without_pandas(name: str, *rest: Any) -> Any:
        if name == "pandas":
            raise ImportError(name)
        return imported(name, *rest)

    result = lrps.status(trained)
    monkeypatch.setattr(builtins, "__import__", without_pandas)
    with pytest.raises(lrps.ConfigError, match="pip install pandas"):
        result.to_frame()
