"""Column of the held-out losses of planned versions: measured, forecast with a band, or a dash with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lrps.costs.forecasts.planned_loss import PlannedLoss
from lrps.report.table import Column, Table

LOSS_NOTE = (
    "Held-out losses are means over the sets of the versions so far. One with a 90 % band is a forecast; a dash comes "
    "with the reason why there is none (docs/forecast.md)."
)


def loss_cell(found: PlannedLoss) -> str:
    """Return a loss as the text of a cell."""
    if found.measured is not None:
        return f"{found.measured:.4f}"
    if found.forecast is None or found.half_width is None:
        return f"- {found.refused}" if found.refused else "-"
    return f"{found.forecast:.4f} +-{found.half_width:.4f}"


def with_losses(table: Table, losses: Sequence[PlannedLoss | None]) -> Table:
    """Return a table with a column of losses, one for each row; the same table if there is none. None: no version."""
    if not any(losses):
        return table
    cells = ("" if found is None else loss_cell(found) for found in losses)
    rows = tuple((*row, cell) for row, cell in zip(table.rows, cells, strict=True))
    return replace(table, columns=(*table.columns, Column("held-out loss")), rows=rows)
