"""The forgetting matrix: every released version on every held-out set."""

from __future__ import annotations

from lrps.report.figure import Document, Figure, slotted
from lrps.report.heatmap import Heatmap


def forgetting(document: Document) -> Figure | None:
    """A map a paradigm, all on one scale; None before the first evaluation."""
    maps = {
        name: {(r["version"], set_): h["loss"] for r in paradigm["releases"] for set_, h in r["heldout"].items()}
        for name, paradigm in document["paradigms"].items()
    }
    losses = [value for values in maps.values() for value in values.values()]
    if not losses:
        return None
    versions = [version["name"] for version in document["versions"]]
    panels = tuple(
        (
            f"forgetting-{name}",
            Heatmap(
                title=name,
                description=f"Held-out loss of every released version of {name} on the data of every version.",
                rows=versions,
                columns=versions,
                values=maps[name],
                low=min(losses),
                high=max(losses),
                slot=slot,
            ).draw(),
        )
        for slot, name, _ in slotted(document)
        if maps[name]
    )
    caption = (
        "Held-out loss, nats a token; all maps share one scale, darker is higher. Framed: a version on its own, newest "
        "data. Left of the frame is older data: a column that darkens downwards is forgetting. Right of it is the next "
        "version's data, not seen yet: transfer."
    )
    return Figure("forgetting", "Every version on every held-out set", caption, panels)
