"""Copying of a run for people and programs: what `lrps push` and `lrps pull` send, copy in place or skip, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lrps.base.numbers import size
from lrps.report.table import Column, Table, text_column
from lrps.report.terminal import print_sentence, print_table
from lrps.store.copy.mirror import CopyGroup
from lrps.store.copy.transfer import Transfer

_ACTIONS = {"push": {"send": "upload", "copy": "copy there"}, "pull": {"send": "download", "copy": "link here"}}


def transfer_document(transfer: Transfer, verb: str, *, dry_run: bool) -> dict[str, Any]:
    """Return a push or a pull, which is `verb`, as JSON values.

    `sent_bytes` are transferred; `copied_bytes` are at the target already and get a second name there. With dry_run,
    both are what would be done.
    """
    return {
        "verb": verb,
        "run_dir": str(transfer.run_dir),
        "address": transfer.address,
        "dry_run": dry_run,
        "sent_bytes": _bytes_of(transfer, "send"),
        "copied_bytes": _bytes_of(transfer, "copy"),
        "groups": [_group(group, _ACTIONS[verb]) for group in transfer.groups],
    }


def _bytes_of(transfer: Transfer, how: str) -> int:
    return sum(group.bytes_of(how) for group in transfer.groups)


def _group(group: CopyGroup, actions: Mapping[str, str]) -> dict[str, Any]:
    return {
        "name": group.name,
        "action": actions.get(group.action, "skip"),
        "bytes": group.bytes,
        "sent_bytes": group.bytes_of("send"),
        "copied_bytes": group.bytes_of("copy"),
        "why": group.why,
    }


def print_transfer(transfer: Transfer, verb: str, *, dry_run: bool) -> None:
    """Print everything that is copied or skipped, and the bytes that are or would be transferred."""
    print_table(transfer_table(transfer, verb))
    groups = transfer.groups
    skipped = f"{sum(group.action == 'skip' for group in groups)} of {len(groups)}"
    sent, copied = size(_bytes_of(transfer, "send")), size(_bytes_of(transfer, "copy"))
    if dry_run:
        print_sentence(f"{sent} would be transferred, {copied} copied in place, {skipped} skipped: --dry-run.")
    else:
        print_sentence(f"{sent} were transferred, {copied} were copied in place, {skipped} were skipped.")


def transfer_table(transfer: Transfer, verb: str) -> Table:
    """Return everything that is copied or skipped as a table, with the reason."""
    ends = (str(transfer.run_dir), transfer.address)
    source, target = ends if verb == "push" else reversed(ends)
    columns = (
        text_column("what"),
        text_column("action"),
        text_column("why", wraps=True),
        Column("size", size, priority=1),
        Column("transferred", lambda sent: size(sent) if sent else ""),
    )
    rows = (
        (
            *(group.name, _ACTIONS[verb].get(group.action, "skip"), group.why),
            *(group.bytes, group.bytes_of("send")),
        )
        for group in transfer.groups
    )
    return Table(f"{source} -> {target}", columns, tuple(rows))
