"""Pruning of a run for people and programs: the checkpoints that are removed or kept, and why."""

from __future__ import annotations

from typing import Any

from lrps.base.numbers import size
from lrps.plan.plan import Plan
from lrps.plan.prune import Pruning
from lrps.report.table import Column, Table, text_column
from lrps.report.terminal import print_sentence, print_table


def prune_document(plan: Plan, pruning: Pruning, *, dry_run: bool) -> dict[str, Any]:
    """Return a pruning as JSON values.

    `freed_bytes` is what all removed directories free together; with dry_run, what they would free.
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


def print_prune(plan: Plan, pruning: Pruning, *, dry_run: bool) -> None:
    """Print every directory that was found, and what removing those that go frees or would free."""
    print_table(prune_table(plan, pruning))
    going, freed = sum(each.goes for each in pruning.found), size(pruning.freed_bytes)
    if dry_run:
        print_sentence(f"{going} of {len(pruning.found)} would go and free {freed}. Nothing was removed: --dry-run.")
    else:
        print_sentence(f"{going} of {len(pruning.found)} are gone, which freed {freed}.")


def prune_table(plan: Plan, pruning: Pruning) -> Table:
    """Return every directory that was found as a table, with the reason to keep or remove it."""
    columns = (
        text_column("checkpoint"),
        text_column("action"),
        text_column("why", wraps=True),
        Column("size", size, priority=1),
        Column("frees", lambda freed: freed if freed == "" else size(freed)),
    )
    rows = (
        (
            *(str(each.directory.relative_to(plan.layout.run_dir)), "goes" if each.goes else "stays"),
            *(each.reason, each.bytes, each.freed_bytes if each.goes else ""),
        )
        for each in pruning.found
    )
    return Table(f"{plan.config.name}: {plan.layout.run_dir}", columns, tuple(rows))
