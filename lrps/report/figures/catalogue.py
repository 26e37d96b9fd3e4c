"""All figures of a comparison. A figure without any value is left out."""

from __future__ import annotations

from lrps.charts.figure import Figure
from lrps.costs.comparison import Comparison
from lrps.report.figures.forecast_chart import forecast_figure
from lrps.report.figures.forgetting import forgetting, task_forgetting
from lrps.report.figures.frontier import loss_against_cost
from lrps.report.figures.goodput import goodput
from lrps.report.figures.learning_rate import learning_rates
from lrps.report.figures.lineage import lineage_tree
from lrps.report.figures.main_curve import main_curves
from lrps.report.figures.paired_chart import paired_differences_figure
from lrps.report.figures.training_loss import training_losses
from lrps.report.figures.versions import cumulative_cost, heldout_losses, older_data_losses

_MAKERS = (
    learning_rates,
    lineage_tree,
    cumulative_cost,
    loss_against_cost,
    heldout_losses,
    older_data_losses,
    main_curves,
    paired_differences_figure,
    forecast_figure,
    forgetting,
    task_forgetting,
    training_losses,
    goodput,
)


def figures(comparison: Comparison) -> tuple[Figure, ...]:
    """Return all figures that have a value, in the order of the page."""
    return tuple(figure for maker in _MAKERS if (figure := maker(comparison)) is not None)
