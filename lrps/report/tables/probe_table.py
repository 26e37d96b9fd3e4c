"""Tables of probes: what data is worth, by held-out losses and scores of a short decay on it beside a control."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from lrps.base.numbers import count, device_time
from lrps.costs.answers.probe_results import ProbeLoss, ProbeResult, ProbeScore
from lrps.costs.comparison import Comparison
from lrps.report.table import Column, Table, text_column
from lrps.report.tables.task_table import metric_label, score_text

_NOTE = (
    "Held-out loss minus that of the control, in nats per token, on the same sequences, and its standard error over "
    "them: below 0, the model gains more from the data of the probe than from what the main path would read next. One "
    "run each: another order of the data is not in the standard error. n/a: not evaluated yet (lrps run)."
)
_OF_TASKS = (
    "Tasks: score minus that of the control, above 0 is better where nothing else is said; ±: its standard error as if "
    "both had been scored on different examples. n/a: not scored yet (lrps score)."
)


def probe_table(comparison: Comparison) -> Table:
    """Return the differences of every probe to its control for people; without rows where there is no probe."""
    results = comparison.probe_results or ()
    sets = list(results[0].heldout) if results else []
    metrics = {(task, metric): score for each in results for task, metric, score in _scores(each)}
    columns = (
        text_column("probe"),
        text_column("data", wraps=True),
        text_column("control", priority=len(sets) + 1),
        Column("from step", count, priority=len(sets) + 2),
        Column("steps", count, priority=len(sets) + 2),
        *(Column(name, priority=len(sets) - index) for index, name in enumerate(sets)),
        *(Column(task, unit=metric_label(metric, each.higher_is_better)) for (task, metric), each in metrics.items()),
        Column("allocated device time", device_time, priority=len(sets) + 1),
    )
    rows = (_row(result, list(metrics)) for result in results)
    return Table("what data is worth", columns, tuple(rows), (_NOTE, *([_OF_TASKS] if metrics else [])))


def _scores(result: ProbeResult) -> Iterator[tuple[str, str, ProbeScore]]:
    """Yield each task and metric with the score of a probe."""
    for task, metrics in result.scores.items():
        for metric, score in metrics.items():
            yield task, metric, score


def _row(result: ProbeResult, metrics: Sequence[tuple[str, str]]) -> tuple[str | float | None, ...]:
    differences = (_difference(loss) for loss in result.heldout.values())
    scores = {(task, metric): score for task, metric, score in _scores(result)}
    gains = (_gain(metric, scores.get((task, metric))) for task, metric in metrics)
    hours = None if result.measured is None else result.measured.device_hours
    return (result.name, shares(result.shares), result.control, result.step, result.steps, *differences, *gains, hours)


def _gain(metric: str, score: ProbeScore | None) -> str | None:
    if score is None or score.difference is None:
        return None
    error = "" if score.standard_error is None else f" ± {score_text(metric, score.standard_error)}"
    return score_text(metric, score.difference, signed=True) + error


def _difference(loss: ProbeLoss) -> str | None:
    if loss.difference is None:
        return None
    return f"{loss.difference:+.4f}" + ("" if loss.standard_error is None else f" ± {loss.standard_error:.4f}")


def shares(data: Mapping[str, float]) -> str:
    """Return the shares of sets as text: `code 30 % + v3 70 %`."""
    return " + ".join(f"{name} {100 * share:.4g} %" for name, share in sorted(data.items()))


def probe_records(comparison: Comparison) -> Table:
    """Return the losses in raw values, one row per probe and held-out set."""
    keys = (
        *("probe", "data", "control", "from_step", "steps", "heldout"),
        *("loss", "control_loss", "difference", "standard_error"),
    )
    rows = (
        (
            *(result.name, shares(result.shares), result.control, result.step, result.steps),
            *(heldout, loss.loss, loss.control_loss, loss.difference, loss.standard_error),
        )
        for result in comparison.probe_results or ()
        for heldout, loss in result.heldout.items()
    )
    return Table("what data is worth", tuple(map(Column, keys)), tuple(rows))


def probe_score_records(comparison: Comparison) -> Table:
    """Return the scores on tasks in raw values, one row per probe, task and metric."""
    keys = (
        *("probe", "data", "control", "from_step", "steps", "task", "measure"),
        *("value", "control_value", "difference", "standard_error", "better"),
    )
    rows = (
        (
            *(result.name, shares(result.shares), result.control, result.step, result.steps, task, metric),
            *(score.value, score.control_value, score.difference, score.standard_error),
            "higher" if score.higher_is_better else "lower",
        )
        for result in comparison.probe_results or ()
        for task, metric, score in _scores(result)
    )
    return Table("what data is worth on tasks", tuple(map(Column, keys)), tuple(rows))
