"""Tests of plug-ins in path.json: changed code is refused with both hashes, and built-in choices change no byte."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lrps.base.errors import ConfigError, LineageError
from lrps.costs.recorded_plan import recorded_plan
from lrps.plan.plan import Plan, load_plan
from lrps.store.identity import check_identity
from support.plugins import QUADRATIC, SEPARATE, forgotten_plugins
from support.values import config_values

BOTH = QUADRATIC + SEPARATE
STRATEGIES = {"path-switching": {"decay": "quadratic"}, "separate": {}, "cpt": {}}


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    with forgotten_plugins():
        yield


def planned(folder: Path, source: str = BOTH, **changes: Any) -> Plan:
    (folder / "both.py").write_text(source)
    values = config_values(runs=str(folder / "runs"), plugins=["both.py"], **{"paradigms": STRATEGIES, **changes})
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(values))
    return load_plan(file)


def begun(plan: Plan, name: str) -> Path:
    """Return the path.json of a path, as training writes it."""
    file = plan.layout.path(name).path_json
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(plan.identity(plan.graph.by_name[name])))
    return file


def test_a_path_records_the_plugins_that_decide_how_it_is_trained(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    code = {"version": "1.2", "sha256": hashlib.sha256(BOTH.encode()).hexdigest()}
    recorded = {name: plan.identity(path).get("plugins") for name, path in plan.graph.by_name.items()}
    assert recorded["branch-v2"] == {"decays": {"quadratic": code}}
    assert recorded["separate-v2"] == {"paradigms": {"separate": code}}
    assert recorded["main"] is None
    assert recorded["cpt-v2"] is None


@pytest.mark.parametrize(("name", "what"), [("branch-v2", "decays.quadratic"), ("separate-v2", "paradigms.separate")])
def test_changed_code_is_refused_with_both_hashes(tmp_path: Path, name: str, what: str) -> None:
    with forgotten_plugins():
        path_json = begun(planned(tmp_path), name)
    changed = BOTH.replace("1.2", "1.3") + "# changed\n"
    plan = planned(tmp_path, changed)
    with pytest.raises(LineageError) as refused:
        check_identity(path_json, plan.identity(plan.graph.by_name[name]), plan.config)
    message = str(refused.value)
    assert f"the plug-in {what}: the run was begun with version 1.2, SHA-256 " in message
    assert all(hashlib.sha256(text.encode()).hexdigest() in message for text in (BOTH, changed))
    assert "put the file of the plug-in back as it was" in message


def test_a_path_of_unchanged_code_continues(tmp_path: Path) -> None:
    with forgotten_plugins():
        path_json = begun(planned(tmp_path), "branch-v2")
    plan = planned(tmp_path)
    path = plan.graph.by_name["branch-v2"]
    assert check_identity(path_json, plan.identity(path), plan.config) == path


def test_a_run_directory_executes_no_code(tmp_path: Path) -> None:
    with forgotten_plugins():
        plan = planned(tmp_path)
        plan.layout.run_dir.mkdir(parents=True)
        recorded = {"config": plan.config.model_dump(mode="json"), "plan": {"versions": []}}
        (plan.layout.run_dir / "plan.json").write_text(json.dumps(recorded))
    (tmp_path / "both.py").write_text("raise SystemExit('executed')\n")
    with pytest.raises(ConfigError, match=r"uses plug-ins \(.*both.py\).* give the config file of the run"):
        recorded_plan(plan.layout.run_dir)
