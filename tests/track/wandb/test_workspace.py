"""The dashboard: its specification without a server, and saved to the stand-in."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from track.wandb_server import WandbServer

from lrps.base.errors import TrackerError
from lrps.config.models import Config
from lrps.plan.plan import Plan, make_plan
from lrps.track.wandb.workspace import save_workspace, workspace_spec

PRICE = {"amount": 2.0, "source": "me", "date": "2026-01-01"}


@pytest.fixture
def plan(make_config: Callable[..., Config]) -> Plan:
    return make_plan(make_config(hardware={"device": "cpu", "price_per_device_hour": PRICE}))


def panels(spec: dict[str, Any]) -> dict[str, tuple[str | None, list[str]]]:
    """title -> x, y."""
    sections = spec["section"]["panelBankConfig"]["sections"]
    configs = [panel["config"] for section in sections for panel in section["panels"]]
    return {config["chartTitle"]: (config.get("xAxis"), config["metrics"]) for config in configs}


def test_every_path_is_drawn_over_tokens_and_cost_and_every_version_has_its_loss(plan: Plan) -> None:
    drawn = panels(workspace_spec(plan, "me", "lrps")["spec"])
    assert drawn["Training loss over tokens"] == ("tokens", ["train/loss"])
    assert drawn["Training loss over device-hours"] == ("cost/device_hours", ["train/loss"])
    assert drawn["Training loss over money"] == ("cost/money", ["train/loss"])
    assert drawn["Learning rate over tokens"] == ("tokens", ["train/lr"])
    assert drawn["Gradient norm over tokens"] == ("tokens", ["train/grad_norm"])
    assert drawn["Tokens a second over tokens"] == ("tokens", ["train/tokens_per_second"])
    for version in ("v1", "v2", "v3", "v4"):
        assert drawn[f"Held-out loss on {version}"] == (None, [f"heldout/{version}/loss"])


def test_without_a_price_there_is_no_money(make_config: Callable[..., Config]) -> None:
    assert "Training loss over money" not in panels(workspace_spec(make_plan(make_config()), "me", "p")["spec"])


def test_the_runs_are_those_of_the_plan_each_with_a_line_of_its_own(plan: Plan) -> None:
    view = workspace_spec(plan, "me", "p")
    (runs,) = view["spec"]["section"]["runSets"]
    wanted = {each["key"]["name"]: (each["op"], each["value"]) for each in runs["filters"]["filters"]}
    assert wanted == {"group": ("=", "small"), "jobType": ("!=", "link")}
    assert [key["name"] for key in runs["grouping"]] == ["jobType", "displayName"]
    assert view["spec"]["section"]["settings"]["maxRuns"] >= len(plan.graph.paths)


@pytest.mark.slow
def test_it_is_saved_as_a_view_of_the_project(server: WandbServer, plan: Plan) -> None:
    address = save_workspace(plan, None, "elsewhere")
    (view,) = server.views
    assert (view["entityName"], view["projectName"], view["type"]) == ("team", "elsewhere", "project-view")
    assert panels(view["spec"]) == panels(workspace_spec(plan, "team", "elsewhere")["spec"])
    assert address.startswith(f"{server.url}/team/elsewhere?nw=")


def test_a_missing_package_is_told_with_its_extra(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    with pytest.raises(TrackerError, match=r"run `pip install 'lrps\[wandb-workspaces\]'`"):
        workspace_spec(plan, "me", "p")
