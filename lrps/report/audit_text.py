"""Audit of a run for people and programs: what every lineage used, and the verdict."""

from __future__ import annotations

from typing import Any

from lrps.audit.result import Audit, Difference, Leg, Lineage, Use
from lrps.base.numbers import count, ratio, short
from lrps.report.table import Column, Table, text_column
from lrps.report.terminal import print_sentence, print_table


def audit_document(audit: Audit) -> dict[str, Any]:
    """Return an audit as JSON values."""
    return {
        "ok": audit.ok,
        "run_dir": str(audit.run_dir),
        "rows": audit.rows,
        "tokens": audit.tokens,
        "ledger_tokens": audit.ledger_tokens,
        "repeated_or_unsaved_steps": audit.spare_steps,
        "repeated_or_unsaved_tokens": audit.spare_tokens,
        "skipped_steps": audit.skipped_steps,
        "checkpoints": audit.checkpoints,
        "digests": audit.digests,
        "without_digest": audit.without_digest,
        "recomputed_rows": audit.recomputed_rows,
        "lineages": [_lineage(lineage) for lineage in audit.lineages],
        "differences": len(audit.differences),
        "first_difference": _difference(audit.differences[0]) if audit.differences else None,
    }


def _lineage(lineage: Lineage) -> dict[str, Any]:
    return {
        "path": lineage.path,
        "legs": [_leg(leg) for leg in lineage.legs],
        "step": lineage.stop,
        "stop_step": lineage.planned_stop,
        "rows": lineage.rows,
        "skipped_rows": lineage.skipped_rows,
        "tokens": lineage.tokens,
        "ledger_tokens": lineage.ledger_tokens,
        "used": [_use(use, _row_tokens(lineage)) for use in lineage.uses],
    }


def _leg(leg: Leg) -> dict[str, Any]:
    """Return a leg; with the amendment that has ended its history, if one has."""
    ended = {} if leg.before_amendment is None else {"before_amendment": leg.before_amendment}
    return {"path": leg.path, "start_step": leg.start, "stop_step": leg.stop, **ended}


def _row_tokens(lineage: Lineage) -> int:
    return lineage.tokens // max(lineage.rows, 1)


def _use(use: Use, row_tokens: int) -> dict[str, Any]:
    return {
        "source": use.source,
        "epoch": use.epoch,
        "rows": use.rows,
        "epoch_rows": use.epoch_rows,
        "tokens": use.rows * row_tokens,
        "skipped_rows": use.skipped_rows,
        "left_over_rows": use.left_over_rows,
        "later_epoch_begun": use.later_epoch_begun,
    }


def _difference(difference: Difference) -> dict[str, Any]:
    return {**vars(difference), "file": str(difference.file), "text": str(difference)}


def print_audit(audit: Audit) -> None:
    """Print a table for each lineage, then the verdict: what was proved, or the first difference."""
    for lineage in audit.lineages:
        print_table(lineage_table(lineage))
    print_sentence(_verdict(audit))


def lineage_table(lineage: Lineage) -> Table:
    """Return the rows that a lineage used of every epoch of every source as a table."""
    legs = ", ".join(f"{leg.path} to step {leg.stop:,}{_ended(leg)}" for leg in lineage.legs)
    unfinished = "" if lineage.stop == lineage.planned_stop else f" of {lineage.planned_stop:,}"
    columns = (
        text_column("source"),
        Column("epoch"),
        Column("rows", count),
        Column("of", count),
        Column("used", ratio),
        *((Column("skipped", count),) if lineage.skipped_rows else ()),
        Column("tokens", short),
        Column("left over", count),
        text_column("remark", wraps=True),
    )
    return Table(
        f"{lineage.path}: {lineage.tokens:,} tokens ({legs}{unfinished})",
        columns,
        tuple(_row(lineage, use) for use in lineage.uses),
    )


def _ended(leg: Leg) -> str:
    return "" if leg.before_amendment is None else f" before its amendment {leg.before_amendment}"


def _row(lineage: Lineage, use: Use) -> tuple[Any, ...]:
    return (
        *(use.source, use.epoch, use.rows, use.epoch_rows, use.rows / use.epoch_rows),
        *((use.skipped_rows,) if lineage.skipped_rows else ()),
        *(use.rows * _row_tokens(lineage), use.left_over_rows),
        "by plan: the next epoch is begun" if use.later_epoch_begun else "",
    )


def _verdict(audit: Audit) -> str:
    if audit.differences:
        more = len(audit.differences) - 1
        return f"NOT PROVED: {audit.differences[0]}" + (f"\n{more:,} more may follow from it" if more else "")
    if not audit.lineages:
        return f"{audit.run_dir}: nothing is trained and saved yet"
    spare, skipped, recomputed = audit.spare_steps, audit.skipped_steps, audit.recomputed_rows
    return (
        f"No row twice, none left out; {count(audit.tokens)} tokens = the ledger's, "
        f"{count(audit.checkpoints)} checkpoints agree"
        + (f"; {count(spare)} steps repeated or not saved yet" if spare else "")
        + (f"; {count(skipped)} steps passed without an update: read, not trained on" if skipped else "")
        + (f"; {count(recomputed)} rows computed one by one" if recomputed is not None else "")
        + f"; {_rates(audit)}"
    )


def _rates(audit: Audit) -> str:
    """Return what the digests prove about the learning rates."""
    proved = f"{count(audit.digests)} digests prove that rates and data are those of path.json"
    if not audit.digests:
        return "no proof of the learning rates, because states of earlier versions of lrps have no digest of their path"
    older = f"; {count(audit.without_digest)} states and attempts of earlier versions of lrps have none"
    return proved + older if audit.without_digest else proved
