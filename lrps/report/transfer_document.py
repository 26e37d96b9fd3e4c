"""What a push or a pull copies, as one JSON document and as the table of `lrps push` and `lrps pull`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lrps.base.numbers import size
from lrps.report.text import print_table
from lrps.store.copy.mirror import CopyGroup
from lrps.store.copy.transfer import Transfer

_ACTIONS = {"push": {"send": "upload", "copy": "copy there"}, "pull": {"send": "download", "copy": "link here"}}


def transfer_document(transfer: Transfer, verb: str, *, dry_run: bool) -> dict[str, Any]:
    """`groups`: name (in the run directory), action, bytes, sent_bytes, copied_bytes, why.

    verb: push or pull. sent_bytes travel, copied_bytes get a second name where they go to; with dry_run, would.
    """
    groups = transfer.groups
    return {
        "verb": verb,
        "run_dir": str(transfer.run_dir),
        "address": transfer.address,
        "dry_run": dry_run,
        "sent_bytes": sum(group.bytes_of("send") for group in groups),
        "copied_bytes": sum(group.bytes_of("copy") for group in groups),
        "groups": [_group(group, _ACTIONS[verb]) for group in groups],
    }


def _group(group: CopyGroup, actions: Mapping[str, str]) -> dict[str, Any]:
    return {
        "name": group.name,
        "action": actions.get(group.action, "skip"),
        "bytes": group.bytes,
        "sent_bytes": group.bytes_of("send"),
        "copied_bytes": group.bytes_of("copy"),
        "why": group.why,
    }


def print_transfer(document: Mapping[str, Any]) -> None:
    """Everything that is copied or skipped, and why."""
    ends = document["run_dir"], document["address"]
    source, target = ends if document["verb"] == "push" else reversed(ends)
    groups = document["groups"]
    print_table(
        f"{source} -> {target}",
        ("what", "", "why", "size", "travels"),
        (
            (
                each["name"],
                each["action"],
                each["why"],
                size(each["bytes"]),
                size(each["sent_bytes"]) if each["sent_bytes"] else "",
            )
            for each in groups
        ),
        left=3,
    )
    skipped = sum(each["action"] == "skip" for each in groups)
    sent, copied = size(document["sent_bytes"]), size(document["copied_bytes"])
    if document["dry_run"]:
        print(f"{sent} would travel, {copied} be copied in place, {skipped} of {len(groups)} be skipped: --dry-run.")
    else:
        print(f"{sent} travelled, {copied} were copied in place, {skipped} of {len(groups)} were skipped.")
