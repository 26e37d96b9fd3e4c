"""The lineage tree: every path once, where it starts from, and which versions it releases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lrps.base.numbers import count
from lrps.charts.figure import Document, Figure, slotted, steps_axis
from lrps.charts.line import Mark
from lrps.charts.tracks import Track, TrackGroup, Tracks
from lrps.report.tree import paths_once

Path = Mapping[str, Any]


def lineage_tree(document: Document) -> Figure:
    """Always there: it needs no more than the plan."""
    paths = paths_once(document)
    groups = _groups(document, paths)
    shared = any(group.note for group in groups)
    tree = Tracks(
        title="Lineage",
        description="; ".join(_sentence(path) for path in paths) + ".",
        x=steps_axis(document),
        groups=groups,
        column="releases",
    )
    caption = (
        "Every path of the plan is one row, over the training steps of its lineage: where a row begins, its parent "
        "stood. A ring is a branch point that a main path keeps, a filled marker a released version, a dashed line "
        "what is still to do."
        + (" A path that paradigms share is trained once and drawn once, under the first of them." if shared else "")
    )
    return Figure("lineage", "Lineage tree", caption, (("lineage", tree.draw()),))


def _sentence(path: Path) -> str:
    origin = f"from {path['parent']['path']} at" if path["parent"] else "from the initial weights,"
    released = f", releases {', '.join(path['versions'])}" if path["versions"] else ""
    steps = f"step {count(path['start_step'])} to {count(path['stop_step'])}"
    return f"{path['name']} {origin} {steps}, {path['state']}{released}"


def _groups(document: Document, paths: Sequence[Path]) -> tuple[TrackGroup, ...]:
    """A group a paradigm, without the paths that an earlier one has; one that has none left keeps its heading."""
    groups = []
    for slot, name in enumerate(document["paradigms"]):
        drawn = [path for path in paths if path["paradigms"][0] == name]
        elsewhere = [path["name"] for path in paths if name in path["paradigms"] and path["paradigms"][0] != name]
        note = f"shares {', '.join(elsewhere)}, drawn above" if elsewhere else ""
        tracks = tuple(_track(document, slot, path, paths) for path in drawn)
        groups.append(TrackGroup(name, note, slot, tracks))
    return tuple(groups)


def _track(document: Document, slot: int, path: Path, paths: Sequence[Path]) -> Track:
    return Track(
        name=path["name"],
        slot=slot,
        start=path["start_step"],
        done=path["start_step"] + path["done_steps"],
        stop=path["stop_step"],
        words=_sentence(path),
        marks=(*_branch_points(path, paths), *_releases(document, path)),
        parent=path["parent"]["path"] if path["parent"] else None,
        released=", ".join(path["versions"]),
        thick=path["job"] == "main",
    )


def _branch_points(path: Path, paths: Sequence[Path]) -> list[Mark]:
    """Where others fork off a main path."""
    if path["job"] != "main":
        return []
    forks: dict[int, list[str]] = {}
    for other in paths:
        if other["parent"] and other["parent"]["path"] == path["name"]:
            forks.setdefault(other["parent"]["step"], []).append(other["name"])
    return [
        Mark((step, 0.0), f"branch point at step {step:,}: {', '.join(names)}", True) for step, names in forks.items()
    ]


def _releases(document: Document, path: Path) -> list[Mark]:
    released: dict[int, list[str]] = {}
    for _, name, paradigm in slotted(document):
        for release in paradigm["releases"]:
            if release["path"] == path["name"]:
                released.setdefault(release["step"], []).append(f"{name} {release['version']}")
    return [Mark((step, 0.0), f"step {step:,}: {', '.join(names)}") for step, names in released.items()]
