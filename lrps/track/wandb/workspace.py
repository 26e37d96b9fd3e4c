"""The dashboard of a plan as a Weights & Biases workspace, which `lrps wandb workspace` builds.

Needs the optional package wandb-workspaces. The specification is made without a server.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lrps.base.errors import TrackerError
from lrps.base.foreign_json import parse_json
from lrps.paths.cost import peak_flops
from lrps.paths.graph import Graph, TrainingPath
from lrps.plan.plan import Plan
from lrps.store.marks import mark_run, read_mark, with_mark
from lrps.track.wandb.link import wandb_project_of

_TRAINING = {
    "Training loss over tokens": ("tokens", "train/loss"),
    "Learning rate over tokens": ("tokens", "train/lr"),
    "Gradient norm over tokens": ("tokens", "train/grad_norm"),
    "Tokens a second over tokens": ("tokens", "train/tokens_per_second"),
}
_COST = {
    "Training loss over device-hours": ("cost/device_hours", "train/loss"),
    "Device-hours over tokens": ("tokens", "cost/device_hours"),
}
"""Line plots of each section: title -> (x, y), with one line per path."""
_SPENT = {"Device-hours of each path": "cost/device_hours", "Model FLOPs of each path": "cost/flops"}
"""Bar plots of the cost: title -> value."""


def make_workspace(plan: Plan, entity: str, project: str) -> Any:
    """Return the workspace, not saved yet: lineage, all paths over tokens and cost, bars of held-out losses and cost.

    Runs are grouped by job type and within it by path, so that each path has its own line. Every page and every panel
    has room for all paths. Raises TrackerError if the package is missing.
    """
    workspaces, reports, expressions = _packages()
    shown, group = max(10, len(plan.graph.paths)), with_mark(plan.config.name, read_mark(plan.layout.run_json))
    return _class_with_page_size(shown)(
        entity=entity,
        project=project,
        name=f"{group}: learning-rate paths",
        sections=[
            workspaces.Section(name=name, panels=panels, is_open=True)
            for name, panels in _panels(reports, plan, shown).items()
        ],
        settings=workspaces.WorkspaceSettings(x_axis="tokens", max_runs=shown),
        runset_settings=workspaces.RunsetSettings(
            filters=[expressions.Metric("Group") == group, expressions.Metric("JobType") != "link"],
            groupby=[expressions.Metric("JobType"), expressions.Metric("Name")],
            order=[expressions.Ordering(expressions.Metric("Name"), ascending=True)],
            pinned_columns=["run:displayName", "summary:step", "summary:train/loss", "summary:cost/device_hours"],
        ),
    )


def _class_with_page_size(size: int) -> Any:
    """Return a class of workspaces whose list of runs has pages of this size, for which the package has no argument."""
    from wandb_workspaces import workspaces

    class Workspace(workspaces.Workspace):
        def _to_model(self) -> Any:
            view = super()._to_model()
            for runs in view.spec.section.run_sets:
                runs.run_feed.page_size = size
            return view

    return Workspace


def _panels(reports: Any, plan: Plan, shown: int) -> dict[str, list[Any]]:
    """Return the panels of every section by its name. shown: number of runs that a panel shows at most."""

    def lines(titled: Mapping[str, tuple[str, str]]) -> list[Any]:
        return [reports.LinePlot(title=title, x=x, y=[y], max_runs_to_show=shown) for title, (x, y) in titled.items()]

    def bars(titled: Mapping[str, str]) -> list[Any]:
        return [
            reports.BarPlot(title=title, metrics=[value], max_runs_to_show=shown, max_bars_to_show=shown)
            for title, value in titled.items()
        ]

    costs, priced = plan.costs, plan.costs.price_per_device_hour is not None
    has_mfu = costs.flops_per_token is not None and peak_flops(plan.config.hardware) is not None
    mfu = {"Model FLOPs utilisation over tokens": ("tokens", "train/mfu")} if has_mfu else {}
    loss_over_money = {"Training loss over money": ("cost/money", "train/loss")} if priced else {}
    money = {"Money of each path": "cost/money"} if priced else {}
    heldout = {f"Held-out loss on {v.name}": f"heldout/{v.name}/loss" for v in plan.config.data.versions}
    curves = {f"{title} over tokens": ("tokens", value) for title, value in heldout.items()}
    return {
        "Training": lines({**_TRAINING, **mfu}),
        "Held-out loss of each version": bars(heldout),
        "Held-out loss over tokens": lines(curves),
        "Cost": [*lines({**_COST, **loss_over_money}), *bars({**_SPENT, **money})],
        "Lineage": [reports.MarkdownPanel(markdown=lineage_markdown(plan.graph))],
    }


def lineage_markdown(graph: Graph) -> str:
    """Return a Markdown table of all paths: the path that each forks from, its steps, and the versions it releases."""
    head = ["| path | kind | forks from | at step | ends at step | releases |", "|---|---|---|--:|--:|---|"]
    return "\n".join(head + [_lineage_row(graph, path) for path in graph.paths])


def _lineage_row(graph: Graph, path: TrainingPath) -> str:
    origin = "initial weights" if path.parent is None else path.parent.path
    releases = [f"{release.version} at {release.step}" for release in graph.releases if release.path == path.name]
    return f"| {path.name} | {path.kind} | {origin} | {path.start} | {path.stop} | {', '.join(releases)} |"


def workspace_spec(plan: Plan, entity: str, project: str) -> dict[str, Any]:
    """Return the workspace as the JSON that a server would receive. Needs no server."""
    view = make_workspace(plan, entity, project)._to_model()
    return dict(parse_json(view.model_dump_json(by_alias=True, exclude_none=True), "the view"))


def save_workspace(plan: Plan, entity: str | None, project: str | None) -> str:
    """Save the workspace as a new view of the project, and return its address.

    A run that nothing is trained of gets its mark, so that the view will show it. Raises TrackerError if the server
    refuses or cannot be reached.
    """
    import wandb

    _packages()
    mark_run(plan.layout)
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
