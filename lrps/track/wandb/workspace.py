"""The dashboard of a plan as a Weights & Biases workspace, which `lrps wandb workspace` builds.

Needs the optional package wandb-workspaces. The specification is made without a server.
"""

from __future__ import annotations

import json
from typing import Any

from lrps.base.errors import TrackerError
from lrps.plan.plan import Plan
from lrps.track.wandb.link import wandb_project_of

_LINES = {
    "Training": {
        "Training loss over tokens": ("tokens", "train/loss"),
        "Learning rate over tokens": ("tokens", "train/lr"),
        "Gradient norm over tokens": ("tokens", "train/grad_norm"),
        "Tokens a second over tokens": ("tokens", "train/tokens_per_second"),
    },
    "Cost": {
        "Training loss over device-hours": ("cost/device_hours", "train/loss"),
        "Device-hours over tokens": ("tokens", "cost/device_hours"),
    },
}
"""Charts of each section: title -> (x, y), with one line per path."""
_PRICED = {"Training loss over money": ("cost/money", "train/loss")}


def make_workspace(plan: Plan, entity: str, project: str) -> Any:
    """Return the workspace, not saved yet: all paths over tokens and cost, and a bar chart of each held-out set.

    Runs are grouped by job type and within it by path, so that each path has its own line.
    Raises TrackerError if the package is missing.
    """
    workspaces, reports, expressions = _packages()
    cost = {**_LINES["Cost"], **(_PRICED if plan.costs.price_per_device_hour is not None else {})}
    sections = [
        workspaces.Section(name=name, panels=[_line(reports, plan, *each) for each in lines.items()], is_open=True)
        for name, lines in {**_LINES, "Cost": cost}.items()
    ]
    bars = [
        reports.BarPlot(title=f"Held-out loss on {name}", metrics=[f"heldout/{name}/loss"])
        for name in (version.name for version in plan.config.data.versions)
    ]
    sections.insert(1, workspaces.Section(name="Held-out loss of each version", panels=bars, is_open=True))
    return workspaces.Workspace(
        entity=entity,
        project=project,
        name=f"{plan.config.name}: learning-rate paths",
        sections=sections,
        settings=workspaces.WorkspaceSettings(x_axis="tokens", max_runs=max(10, len(plan.graph.paths))),
        runset_settings=workspaces.RunsetSettings(
            filters=[expressions.Metric("Group") == plan.config.name, expressions.Metric("JobType") != "link"],
            groupby=[expressions.Metric("JobType"), expressions.Metric("Name")],
            order=[expressions.Ordering(expressions.Metric("Name"), ascending=True)],
            pinned_columns=["run:displayName", "summary:step", "summary:train/loss", "summary:cost/device_hours"],
        ),
    )


def _line(reports: Any, plan: Plan, title: str, axes: tuple[str, str]) -> Any:
    x, y = axes
    return reports.LinePlot(title=title, x=x, y=[y], max_runs_to_show=max(10, len(plan.graph.paths)))


def workspace_spec(plan: Plan, entity: str, project: str) -> dict[str, Any]:
    """Return the workspace as the JSON that a server would receive. Needs no server."""
    view = make_workspace(plan, entity, project)._to_model()
    return dict(json.loads(view.model_dump_json(by_alias=True, exclude_none=True)))


def save_workspace(plan: Plan, entity: str | None, project: str | None) -> str:
    """Save the workspace as a new view of the project, and return its address.

    Raises TrackerError if the server refuses or cannot be reached.
    """
    import wandb

    _packages()
    try:
        target = wandb_project_of(plan, wandb.Api(), entity, project)
        return str(make_workspace(plan, target.entity, target.project).save().url)
    except (wandb.Error, OSError, ValueError) as error:
        raise TrackerError(f"wandb: {error}; see that the server and the API key are right (`wandb login`)") from error


def _packages() -> tuple[Any, Any, Any]:
    try:
        from wandb_workspaces import expr, workspaces
        from wandb_workspaces.reports import v2
    except ModuleNotFoundError as error:
        raise TrackerError(f"{error}; run `pip install 'lrps[wandb-workspaces]'`") from None
    return workspaces, v2, expr
