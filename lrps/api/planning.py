"""Functions of the API before and beside training: the plan, its data, and the state of its run."""

from __future__ import annotations

from collections.abc import Sequence

from lrps.api.results import PlanResult, Result, drawings_of
from lrps.api.sources import ConfigSource, RunSource, load_config, plan_from
from lrps.costs.comparison import make_comparison
from lrps.costs.plan_forecast import PlanForecast, at_speed, plan_forecast
from lrps.costs.status_document import StatusDocument, status_document
from lrps.plan.status import begun_status, done_steps, plan_status
from lrps.report.figures.learning_rate import learning_rates
from lrps.report.figures.lineage import lineage_tree
from lrps.report.figures.main_curve import main_curves
from lrps.report.figures.training_loss import training_losses
from lrps.report.forecast_lines import forecast_lines
from lrps.report.plan_text import plan_tables
from lrps.report.status_lines import heldout_lines, initial_lines, totals_line, warning_lines
from lrps.report.tables.status_table import status_table
from lrps.report.tree import tree_rows


def compile_plan(
    source: RunSource, overrides: Sequence[str] = (), *, price: str | None = None
) -> PlanResult[PlanForecast]:
    """Return what a config compiles to, as `lrps plan` shows it: every path, its cost, and what is still to do.

    Nothing is trained and nothing written. Its drawings are the learning rates and the tree of paths.

    >>> plan = lrps.compile_plan("configs/demo.yaml").plan
    >>> plan.graph.by_name["branch-v2"].schedule.lr_at(140)
    """
    plan = plan_from(source, overrides, price)
    forecast = plan_forecast(plan, done_steps(plan), begun_status(plan))
    shown = forecast.plan if forecast.measured is None else at_speed(plan, forecast.plan, forecast.measured.speed)
    comparison = make_comparison(plan)
    drawn = drawings_of((learning_rates(comparison), lineage_tree(comparison)))
    tables = tuple(plan_tables(shown, forecast.losses or {}))
    return PlanResult(forecast, tables, drawn, tuple(forecast_lines(forecast)), plan=plan)


def build_data(
    source: ConfigSource,
    versions: Sequence[str] = (),
    *,
    overrides: Sequence[str] = (),
    processes: int | None = None,
) -> None:
    """Tokenize the text of a config's versions into shards, as `lrps data build` does; existing ones are compared.

    versions: names; by default all. processes: by default one per core. Raises ConfigError if no version has text,
    DataError if a version exists that was made from other text.
    """
    from lrps.data.build import build

    build.build_data(load_config(source, overrides), versions, processes)


def status(source: RunSource, overrides: Sequence[str] = ()) -> Result[StatusDocument]:
    """Return the state of every path of a run, as `lrps status` shows it. Reads files only."""
    plan = plan_from(source, overrides)
    document = status_document(plan, plan_status(plan))
    comparison = make_comparison(plan)
    lines = (totals_line(document), *initial_lines(document), *heldout_lines(document), *warning_lines(document))
    drawn = drawings_of((main_curves(comparison), training_losses(comparison), lineage_tree(comparison)))
    return Result(document, (status_table(document, list(tree_rows(document.paths))),), drawn, lines)
