"""The audit of a run as one JSON document, and as tables: what `lrps data audit` prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lrps.audit.result import Audit, Difference, Lineage, Use
from lrps.base.numbers import count, ratio, short
from lrps.report.text import print_table


def audit_document(audit: Audit) -> dict[str, Any]:
    """`ok`, `rows`, `tokens`, `first_difference`, and what every lineage used of every epoch of every source."""
    return {
        "ok": audit.ok,
        "run_dir": str(audit.run_dir),
        "rows": audit.rows,
        "tokens": audit.tokens,
        "ledger_tokens": audit.ledger_tokens,
        "repeated_or_unsaved_steps": audit.spare_steps,
        "repeated_or_unsaved_tokens": audit.spare_tokens,
        "checkpoints": audit.checkpoints,
        "recomputed_rows": audit.recomputed_rows,
        "lineages": [_lineage(lineage) for lineage in audit.lineages],
        "differences": len(audit.differences),
        "first_difference": _difference(audit.differences[0]) if audit.differences else None,
    }


def _lineage(lineage: Lineage) -> dict[str, Any]:
    return {
        "path": lineage.path,
        "legs": [{"path": leg.path, "start_step": leg.start, "stop_step": leg.stop} for leg in lineage.legs],
        "step": lineage.stop,
        "stop_step": lineage.planned_stop,
        "rows": lineage.rows,
        "tokens": lineage.tokens,
        "ledger_tokens": lineage.ledger_tokens,
        "used": [_use(use, lineage.tokens // max(lineage.rows, 1)) for use in lineage.uses],
    }


def _use(use: Use, row_tokens: int) -> dict[str, Any]:
    return {
        "source": use.source,
        "epoch": use.epoch,
        "rows": use.rows,
        "epoch_rows": use.epoch_rows,
        "tokens": use.rows * row_tokens,
        "left_over_rows": use.left_over_rows,
        "later_epoch_begun": use.later_epoch_begun,
    }


def _difference(difference: Difference) -> dict[str, Any]:
    return {**vars(difference), "file": str(difference.file), "text": str(difference)}


def print_audit(document: Mapping[str, Any]) -> None:
    """A table a lineage, then the verdict: what was proved, or the first difference."""
    columns = ("source", "epoch", "rows", "of", "used", "tokens", "left over", "")
    for lineage in document["lineages"]:
        print_table(_title(lineage), columns, [_cells(use) for use in lineage["used"]])
    print(_verdict(document))


def _title(lineage: Mapping[str, Any]) -> str:
    legs = ", ".join(f"{leg['path']} to step {leg['stop_step']:,}" for leg in lineage["legs"])
    unfinished = "" if lineage["step"] == lineage["stop_step"] else f" of {lineage['stop_step']:,}"
    return f"{lineage['path']}: {lineage['tokens']:,} tokens ({legs}{unfinished})"


def _cells(use: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        use["source"],
        str(use["epoch"]),
        count(use["rows"]),
        count(use["epoch_rows"]),
        ratio(use["rows"] / use["epoch_rows"]),
        short(use["tokens"]),
        count(use["left_over_rows"]),
        "by plan: the next epoch is begun" if use["later_epoch_begun"] else "",
    )


def _verdict(document: Mapping[str, Any]) -> str:
    first = document["first_difference"]
    if first is not None:
        more = document["differences"] - 1
        return f"NOT PROVED: {first['text']}" + (f"\n{more:,} more may follow from it" if more else "")
    if not document["lineages"]:
        return f"{document['run_dir']}: nothing is trained and saved yet"
    spare = document["repeated_or_unsaved_steps"]
    recomputed = document["recomputed_rows"]
    return (
        f"No row twice, none left out; {count(document['tokens'])} tokens = the ledger's, "
        f"{count(document['checkpoints'])} checkpoints agree"
        + (f"; {count(spare)} steps repeated or not saved yet" if spare else "")
        + (f"; {count(recomputed)} rows worked out one by one" if recomputed is not None else "")
    )
