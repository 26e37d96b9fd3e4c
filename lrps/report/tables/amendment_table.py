"""Amendments of paths for people: a table for reports, and sentences for the status."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from lrps.base.numbers import count
from lrps.costs.comparison import Comparison
from lrps.costs.planned.path_amendment import PathAmendment
from lrps.report.table import Column, Table, text_column

_NOTE = (
    "lrps rewind took the path back to its state of that step; what it changed is in force from there on. Branches "
    "that had forked beyond it keep the older history. An amendment is ended by a later one that goes as far back."
)
_UNCHANGED = "as planned"


def amendment_table(comparison: Comparison) -> Table:
    """Return the amendments of all paths; without rows where no path was taken back."""
    columns = (
        *(text_column("path"), Column("amendment", count), text_column("when", wraps=True)),
        *(Column("back to step", count), text_column("peak rate"), text_column("gradient clipping")),
        *(text_column("skipped steps"), text_column("in force"), text_column("reason", wraps=True)),
    )
    rows = (
        (
            *(path, each.number, each.when, each.at, _rate(each) or _UNCHANGED, _clip(each) or _UNCHANGED),
            *(_skipped(each) or "none", "yes" if each.in_force else "ended", each.reason or "not given"),
        )
        for path, amendments in comparison.amendments.items()
        for each in amendments
    )
    return Table("amendments by lrps rewind", columns, tuple(rows), (_NOTE,))


def amendment_lines(of_paths: Mapping[str, Sequence[PathAmendment]]) -> list[str]:
    """Return a sentence for each amendment in force. of_paths: amendments by the name of the path."""
    return [
        f"{path}: amendment {each.number}{f' ({each.when})' if each.when else ''}: taken back to step {count(each.at)}"
        + (f" ({each.reason})" if each.reason else "")
        + "".join(f"; {change}" for change in _changes(each))
        for path, amendments in of_paths.items()
        for each in amendments
        if each.in_force
    ]


def _changes(amendment: PathAmendment) -> Iterator[str]:
    """Yield what an amendment changes."""
    if rate := _rate(amendment):
        yield f"peak rate {rate}"
    if clip := _clip(amendment):
        yield f"gradients clipped to a norm of {clip}"
    if skipped := _skipped(amendment):
        yield f"steps that pass without an update: {skipped}"


def _rate(amendment: PathAmendment) -> str | None:
    if amendment.peak_lr is None:
        return None
    return f"{amendment.peak_lr:g}" + (
        "" if amendment.for_steps is None else f" for {count(amendment.for_steps)} steps"
    )


def _clip(amendment: PathAmendment) -> str | None:
    return None if amendment.clip_grad_norm is None else f"{amendment.clip_grad_norm:g}"


def _skipped(amendment: PathAmendment) -> str | None:
    steps = amendment.skipped
    if steps is None:
        return None
    return count(steps.first) if steps.first == steps.last else f"{count(steps.first)} to {count(steps.last)}"
