"""The dashboard: its specification without a server, and saved to the stand-in."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from track.wandb_server import WandbServer

from lrps.base.errors import TrackerError
from lrps.config.models import Config
from lrps.plan.plan import Plan, make_plan
from lrps.store.marks import read_mark
from lrps.track.wandb.workspace import save_workspace, workspace_spec

PRICE = {"amount": 2.0, "source": "me", "date": "2026-01-01"}


@pytest.fixture
def plan(make_config: Callable[..., Config]) -> Plan:
    return make_plan(make_config(hardware={"device": "A100", "price_per_device_hour": PRICE}))


def configs(spec: dict[str, Any]) -> list[dict[str, Any]]:
    sections = spec["section"]["panelBankConfig"]["sections"]
    return [panel["config"] for section in sections for panel in section["panels"]]


def panels(spec: dict[str, Any]) -> dict[str, tuple[str | None, list[str]]]:
    """title -> x, y."""
    charts = [config for config in configs(spec) if "chartTitle" in config]
    return {config["chartTitle"]: (config.get("xAxis"), config["metrics"]) for config in charts}


def test_every_path_is_drawn_over_tokens_and_cost_and_every_version_has_its_loss(plan: Plan) -> None:
    drawn = panels(workspace_spec(plan, "me", "lrps")["spec"])
    assert drawn["Training loss over tokens"] == ("tokens", ["train/loss"])
    assert drawn["Training loss over device-hours"] == ("cost/device_hours", ["train/loss"])
    assert drawn["Training loss over money"] == ("cost/money", ["train/loss"])
    assert drawn["Learning rate over tokens"] == ("tokens", ["train/lr"])
    assert drawn["Gradient norm over tokens"] == ("tokens", ["train/grad_norm"])
    assert drawn["Tokens a second over tokens"] == ("tokens", ["train/tokens_per_second"])
    assert drawn["Model FLOPs utilisation over tokens"] == ("tokens", ["train/mfu"])
    assert drawn["Device-hours of each path"] == (None, ["cost/device_hours"])
    assert drawn["Model FLOPs of each path"] == (None, ["cost/flops"])
    assert drawn["Money of each path"] == (None, ["cost/money"])
    for version in ("v1", "v2", "v3", "v4"):
        assert drawn[f"Held-out loss on {version}"] == (None, [f"heldout/{version}/loss"])


def test_without_a_price_there_is_no_money(make_config: Callable[..., Config]) -> None:
    drawn = panels(workspace_spec(make_plan(make_config()), "me", "p")["spec"])
    assert not [title for title in drawn if "oney" in title]
    assert "Model FLOPs utilisation over tokens" not in drawn, "the peak of the device is not known"


def test_the_runs_are_those_of_the_plan_each_with_a_line_of_its_own(plan: Plan) -> None:
    view = workspace_spec(plan, "me", "p")
    (runs,) = view["spec"]["section"]["runSets"]
    wanted = {each["key"]["name"]: (each["op"], each["value"]) for each in runs["filters"]["filters"]}
    assert wanted == {"group": ("=", "small"), "jobType": ("!=", "link")}
    assert [key["name"] for key in runs["grouping"]] == ["jobType", "displayName"]


@pytest.mark.parametrize("versions", [2, 30])
def test_every_page_and_every_panel_has_room_for_all_paths(make_config: Callable[..., Config], versions: int) -> None:
    data = {"root": "nowhere", "sequence_length": 8}
    named = [{"name": f"v{k}", "tokens": 1600} for k in range(1, versions + 1)]
    plan = make_plan(make_config(data={**data, "versions": named}))
    spec, shown = workspace_spec(plan, "me", "p")["spec"], max(10, len(plan.graph.paths))
    assert spec["section"]["runSets"][0]["runFeed"]["pageSize"] == shown
    assert spec["section"]["settings"]["maxRuns"] == shown
    charts = [config for config in configs(spec) if "chartTitle" in config]
    assert {config["limit"] for config in charts} == {shown}
    assert {config.get("barLimit", shown) for config in charts} == {shown}


def test_the_lineage_is_a_table_of_all_paths(plan: Plan) -> None:
    (table,) = (config["value"] for config in configs(workspace_spec(plan, "me", "p")["spec"]) if "value" in config)
    lines = table.splitlines()
    assert len(lines) == 2 + len(plan.graph.paths)
    branch = plan.graph.by_name["branch-v2"]
    assert f"| branch-v2 | branch | main | {branch.start} | {branch.stop} | v2 at {branch.stop} |" in lines
    assert "| main | main | initial weights | 0 |" in table


@pytest.mark.slow
def test_it_is_saved_as_a_view_of_the_project(
    server: WandbServer, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    address = save_workspace(plan, None, "elsewhere")
    (view,) = server.views
    assert (view["entityName"], view["projectName"], view["type"]) == ("team", "elsewhere", "project-view")
    assert panels(view["spec"]) == panels(workspace_spec(plan, "team", "elsewhere")["spec"])
    mark = read_mark(plan.layout.run_json)
    (group,) = (each for each in view["spec"]["section"]["runSets"][0]["filters"]["filters"] if each["op"] == "=")
    assert mark is not None
    assert (view["displayName"], group["value"]) == (f"small-{mark}: learning-rate paths", f"small-{mark}")
    assert view["spec"]["section"]["runSets"][0]["runFeed"]["pageSize"] == len(plan.graph.paths)
    assert address.startswith(f"{server.url}/team/elsewhere?nw=")


def test_a_missing_package_is_told_with_its_extra(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    with pytest.raises(TrackerError, match=r"run `pip install 'lrps\[wandb-workspaces\]'`"):
        workspace_spec(plan, "me", "p")
