"""Table of the versions against the main path that they branch from, on the same held-out sequences."""

from __future__ import annotations

from lrps.base.numbers import amount, count
from lrps.costs.comparison import Comparison
from lrps.costs.curves.paired_difference import PairedDifference
from lrps.ledger.reader import RAW
from lrps.report.table import Column, Table, text_column

_NOTE = (
    "Loss of the version minus loss of the main path in nats per token, on the same sequences, with its standard error "
    "over the sequences: below 0 the version is better. Against the main path at the fork: what the branch gained. "
    "Against the main path at the version's own step: both have trained as many steps. A version in the form ema or "
    "merge is an average of the main path's weights, against these weights. The error is that of the sample "
    "of sequences; it says nothing about other seeds."
)


def paired_table(comparison: Comparison) -> Table:
    """Return the differences for people; without rows before a version and its main path were evaluated."""
    columns = (
        *(text_column("version"), text_column("held-out set"), text_column("main path at step")),
        *(Column("difference", "{:+.4f}".format), Column("standard error", "{:.4f}".format)),
        Column("sequences", count),
    )
    rows = (
        (
            version_label(each),
            each.version,
            f"{name} @ {each.main_step:,}",
            each.difference,
            each.standard_error,
            each.rows,
        )
        for name, curve in comparison.heldout_curves.items()
        for each in curve.differences
    )
    return Table("versions against the main path", columns, tuple(rows), (_NOTE,))


def version_label(difference: PairedDifference) -> str:
    """Return the released version with the form of its weights if they are not raw, such as `v3 (ema)`."""
    return difference.released + ("" if difference.form == RAW else f" ({difference.form})")


def paired_records(comparison: Comparison) -> Table:
    """Return the differences in raw values."""
    keys = ("main_path", "main_step", "version", "path", "step", "heldout_set", "sequences", "difference")
    rows = (
        (
            *(name, each.main_step, each.released, each.path, each.step, each.version, each.rows),
            *(each.difference, each.standard_error, each.form),
        )
        for name, curve in comparison.heldout_curves.items()
        for each in curve.differences
    )
    return Table("versions against the main path", tuple(map(Column, (*keys, "standard_error", "form"))), tuple(rows))


def watching_notes(comparison: Comparison) -> tuple[str, ...]:
    """Return a sentence with the device-hours that evaluations of main paths took; none if none was evaluated."""
    hours = [f"{name} {amount(curve.device_hours)}" for name, curve in comparison.heldout_curves.items()]
    if not hours:
        return ()
    return (f"Of the allocated device-hours, evaluations of the main path took: {', '.join(hours)}.",)
