"""Functions of the API after training: comparison, forecast, audit and released models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrps.api.results import Result, drawings_of
from lrps.api.sources import RunSource, plan_from
from lrps.audit.result import Audit
from lrps.base.errors import ConfigError
from lrps.costs.compare import CompareDocument, compare_runs
from lrps.costs.comparison import make_comparison
from lrps.costs.forecasts.version_forecast import Outlook, VersionForecast, outlook, version_forecast
from lrps.plan.plan import Plan
from lrps.report.audit_text import audit_document, lineage_table
from lrps.report.figures.catalogue import figures
from lrps.report.figures.forecast_chart import length_chart, set_charts
from lrps.report.forecast_text import forecast_remarks, forecast_table
from lrps.report.tables.compare_table import compare_table

if TYPE_CHECKING:
    from lrps.export.release import Exported


def compare(*sources: RunSource, price: str | None = None) -> Result[CompareDocument]:
    """Compare path switching with PTFS and CPT, as `lrps compare` does: measured where they ran, else modelled.

    The drawings are the figures of the report of a single run.
    """
    if not sources:
        raise ConfigError("compare() needs at least one run: a config, or the directory of a run")
    plans = [plan_from(source, price=price) for source in sources]
    document = compare_runs(plans)
    drawn = drawings_of(figures(make_comparison(plans[0]))) if len(plans) == 1 else ()
    return Result(document, (compare_table(document, for_terminal=False),), drawn)


def outlook_of(plan: Plan, paradigm: str | None = None) -> Outlook:
    """Return what a run knows for forecasts of one path switching paradigm; by default its only one."""
    comparison = make_comparison(plan)
    curves, pace = comparison.heldout_curves, comparison.pace
    return outlook(plan, curves, pace, comparison.price, paradigm, comparison.track_record or ())


def forecast_version(
    source: RunSource,
    version: str | None = None,
    *,
    alphas: Sequence[float] = (),
    paradigm: str | None = None,
    overrides: Sequence[str] = (),
    price: str | None = None,
) -> Result[VersionForecast]:
    """Forecast the loss and the cost of a version over lengths and shapes of its branch, as `lrps forecast` does.

    version: by default the next one. alphas: lengths in the unit of the config. Nothing is trained or written.
    Raises ForecastRefused, with the reason, where the law is known not to hold.
    """
    look = outlook_of(plan_from(source, overrides, price), paradigm)
    lengths = [Fraction(str(alpha)) for alpha in alphas]
    document = replace(version_forecast(look, version, lengths or None), track_record=look.record)
    drawn = tuple((length_chart(document) | set_charts(document, look.curve)).values())
    return Result(document, (forecast_table(document),), drawn, tuple(forecast_remarks(document)))


class AuditResult(Result[Audit]):
    """Audit of a run."""

    def to_json(self) -> Any:
        """Return the document as `lrps data audit --json` prints it."""
        return audit_document(self.document)


def audit_run(source: RunSource, *, recompute_rows: bool = False) -> AuditResult:
    """Return the proof that no lineage of a run has used a sequence twice or left one out, as `lrps data audit` does.

    recompute_rows: compute every sequence one by one, too, for which the manifests are needed. `document.ok` says
    whether everything is in order, `document.differences` what is not.
    """
    from lrps.audit.run import audit_run as audit

    plan = plan_from(source)
    document = audit(plan.config.run_dir, plan.config.data.root if recompute_rows else None)
    return AuditResult(document, tuple(map(lineage_table, document.lineages)))


def export_model(
    source: RunSource,
    path: str,
    *,
    version: str | None = None,
    step: int | None = None,
    out: Path | str | None = None,
    dtype: str | None = None,
    force: bool = False,
) -> list[Exported]:
    """Write the states that a path releases as Hugging Face directories, as `lrps export` does, and return them.

    version: only the state of this version. step: a saved step in place of the released ones. out: directory, for one
    state; by default in the run directory. dtype: fp32 or bf16, by default engine.precision. force: replace an export
    of another state.
    """
    from lrps.export.states import chosen_states

    if dtype not in (None, "fp32", "bf16"):
        raise ConfigError(f"dtype {dtype}: take fp32 or bf16")

    plan = plan_from(source)
    states = chosen_states(plan, [path], version, step)
    if out is not None and len(states) > 1:
        raise ConfigError(f"out takes one model, but {path} releases {len(states)} states; give version or step")

    from lrps.export.release import ExportFormat, export_state

    form = ExportFormat(dtype or plan.config.engine.precision)
    places = (Path(out) if out is not None else state.directory(plan.layout.path(path)) for state in states)
    return [export_state(plan, state, place, form, force=force) for state, place in zip(states, places, strict=True)]
