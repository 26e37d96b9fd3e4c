"""Tables of probes: what data is worth, by the held-out loss of a short decay on it beside a control."""

from __future__ import annotations

from collections.abc import Mapping

from lrps.base.numbers import count, device_time
from lrps.costs.answers.probe_results import ProbeLoss, ProbeResult
from lrps.costs.comparison import Comparison
from lrps.report.table import Column, Table, text_column

_NOTE = (
    "Held-out loss minus that of the control, in nats per token, on the same sequences, and its standard error over "
    "them: below 0, the model gains more from the data of the probe than from what the main path would read next. One "
    "run each: another order of the data is not in the standard error. n/a: not evaluated yet (lrps run)."
)


def probe_table(comparison: Comparison) -> Table:
    """Return the differences of every probe to its control for people; without rows where there is no probe."""
    results = comparison.probe_results or ()
    sets = list(results[0].heldout) if results else []
    columns = (
        text_column("probe"),
        text_column("data", wraps=True),
        text_column("control", priority=len(sets) + 1),
        Column("from step", count, priority=len(sets) + 2),
        Column("steps", count, priority=len(sets) + 2),
        *(Column(name, priority=len(sets) - index) for index, name in enumerate(sets)),
        Column("allocated device time", device_time, priority=len(sets) + 1),
    )
    return Table("what data is worth", columns, tuple(map(_row, results)), (_NOTE,))


def _row(result: ProbeResult) -> tuple[str | float | None, ...]:
    differences = (_difference(loss) for loss in result.heldout.values())
    hours = None if result.measured is None else result.measured.device_hours
    return (result.name, shares(result.shares), result.control, result.step, result.steps, *differences, hours)


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
