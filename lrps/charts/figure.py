"""Figure of a report: drawings under one title with one caption."""

from __future__ import annotations

from dataclasses import dataclass

from lrps.charts.svg import Drawing


@dataclass(frozen=True)
class Figure:
    """One or more drawings under one title."""

    name: str
    """Name for links and files."""
    title: str
    """Title for people."""
    caption: str
    """Explanation of how to read the drawings."""
    panels: tuple[tuple[str, Drawing], ...]
    """Drawings, each with the name of its file."""
