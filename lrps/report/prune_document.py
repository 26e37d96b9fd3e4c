"""What a pruning removes and what it keeps, as one JSON document and as the table of `lrps prune`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lrps.base.numbers import size
from lrps.plan.plan import Plan
from lrps.plan.prune import Pruning
from lrps.report.text import print_table


def prune_document(plan: Plan, pruning: Pruning, *, dry_run: bool) -> dict[str, Any]:
    """`checkpoints`: path, directory (in the run directory), step, bytes, freed_bytes, goes, reason.

    freed_bytes: of all that goes together; with dry_run, what would be freed.
    """
    return {
        "name": plan.config.name,
        "run_dir": str(plan.layout.run_dir),
        "dry_run": dry_run,
        "freed_bytes": pruning.freed_bytes,
        "checkpoints": [
            {
                "path": each.path,
                "directory": str(each.directory.relative_to(plan.layout.run_dir)),
                "step": each.step,
                "bytes": each.bytes,
                "freed_bytes": each.freed_bytes,
                "goes": each.goes,
                "reason": each.reason,
            }
            for each in pruning.found
        ],
    }


def print_prune(document: Mapping[str, Any]) -> None:
    """Everything that was found: whether it goes, why (not), its size, and what removing it frees."""
    found = document["checkpoints"]
    print_table(
        f"{document['name']}: {document['run_dir']}",
        ("checkpoint", "", "why", "size", "frees"),
        (
            (
                each["directory"],
                "goes" if each["goes"] else "stays",
                each["reason"],
                size(each["bytes"]),
                size(each["freed_bytes"]) if each["goes"] else "",
            )
            for each in found
        ),
        left=3,
    )
    going = sum(each["goes"] for each in found)
    freed = size(document["freed_bytes"])
    if document["dry_run"]:
        print(f"{going} of {len(found)} would go and free {freed}. Nothing was removed: --dry-run.")
    else:
        print(f"{going} of {len(found)} are gone, which freed {freed}.")
