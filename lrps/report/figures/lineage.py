"""Lineage tree: every path once, with the path that it starts from and the versions that it releases."""

from __future__ import annotations

from collections.abc import Sequence

from lrps.base.numbers import count
from lrps.charts.figure import Figure
from lrps.charts.line import Mark
from lrps.charts.timeline import Timeline, TimelineGroup, TimelineRow
from lrps.costs.comparison import Comparison
from lrps.report.figures.step_chart import steps_axis
from lrps.report.tree import GraphPath, graph_paths


def lineage_tree(comparison: Comparison) -> Figure:
    """Return the tree. It needs no more than the plan."""
    paths = graph_paths(comparison)
    groups = _groups(comparison, paths)
    shared = any(group.note for group in groups)
    tree = Timeline(
        title="Lineage",
        description="; ".join(_sentence(path) for path in paths) + ".",
        x=steps_axis(comparison),
        groups=groups,
        column="releases",
    )
    caption = (
        "Every path of the plan is one row, over the training steps of its lineage; it begins at the step of its "
        "parent that it starts from. A ring is a branch point that a main path keeps, a filled marker a released "
        "version, a dashed line what is still to do."
        + (" A path that paradigms share is trained once and drawn once, under the first of them." if shared else "")
    )
    return Figure("lineage", "Lineage tree", caption, (("lineage", tree.draw()),))


def _sentence(path: GraphPath) -> str:
    plan = path.costs.plan
    origin = f"from {plan.parent.path} at" if plan.parent else "from the initial weights,"
    released = f", releases {', '.join(path.versions)}" if path.versions else ""
    return (
        f"{plan.name} {origin} step {count(plan.start_step)} to {count(plan.stop_step)}, {path.costs.state}{released}"
    )


def _groups(comparison: Comparison, paths: Sequence[GraphPath]) -> tuple[TimelineGroup, ...]:
    """Return a group per paradigm, without the paths of the groups above it. A group may be empty."""
    groups = []
    for slot, name in enumerate(comparison.paradigms):
        own = [path for path in paths if path.paradigms[0] == name]
        above = [path.name for path in paths if name in path.paradigms and path.paradigms[0] != name]
        note = f"shares {', '.join(above)}, drawn above" if above else ""
        groups.append(TimelineGroup(name, note, slot, tuple(_row(comparison, slot, path, paths) for path in own)))
    return tuple(groups)


def _row(comparison: Comparison, slot: int, path: GraphPath, paths: Sequence[GraphPath]) -> TimelineRow:
    plan = path.costs.plan
    return TimelineRow(
        name=plan.name,
        slot=slot,
        start=plan.start_step,
        done=plan.start_step + plan.done_steps,
        stop=plan.stop_step,
        words=_sentence(path),
        marks=(*_branch_points(path, paths), *_releases(comparison, path)),
        parent=plan.parent.path if plan.parent else None,
        released=", ".join(path.versions),
        thick=plan.kind == "main",
    )


def _branch_points(path: GraphPath, paths: Sequence[GraphPath]) -> list[Mark]:
    """Return the marks of the forks from a main path; none for another path."""
    if path.costs.plan.kind != "main":
        return []
    forks: dict[int, list[str]] = {}
    for other in paths:
        if other.parent and other.parent.path == path.name:
            forks.setdefault(other.parent.step, []).append(other.name)
    return [
        Mark((step, 0.0), f"branch point at step {step:,}: {', '.join(names)}", True) for step, names in forks.items()
    ]


def _releases(comparison: Comparison, path: GraphPath) -> list[Mark]:
    released: dict[int, list[str]] = {}
    for name, paradigm in comparison.paradigms.items():
        for release in paradigm.releases:
            if release.path == path.name:
                released.setdefault(release.step, []).append(f"{name} {release.label}")
    return [Mark((step, 0.0), f"step {step:,}: {', '.join(names)}") for step, names in released.items()]
