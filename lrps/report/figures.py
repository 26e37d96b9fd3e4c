"""The figures of a comparison: documents in, drawings out. A figure without any value is left out."""

from __future__ import annotations

from lrps.report.figure import Document, Figure
from lrps.report.forgetting_figure import forgetting, task_forgetting
from lrps.report.frontier_figure import loss_against_cost
from lrps.report.goodput_figure import goodput
from lrps.report.learning_rate_figure import learning_rates
from lrps.report.lineage_figure import lineage_tree
from lrps.report.training_loss_figure import training_losses
from lrps.report.version_figures import ageing, cumulative_cost, heldout_losses

_MAKERS = (
    learning_rates,
    lineage_tree,
    cumulative_cost,
    loss_against_cost,
    heldout_losses,
    ageing,
    forgetting,
    task_forgetting,
    training_losses,
    goodput,
)


def figures(document: Document) -> tuple[Figure, ...]:
    """All figures that there are values for, in the order of the page."""
    return tuple(figure for maker in _MAKERS if (figure := maker(document)) is not None)
