"""Copies of a path that was taken back on one side: which states a rewind has ended, and where they move.

Pure functions. Must not import torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from lrps.base.foreign_json import parse_json
from lrps.paths.amendments import Amendments, abandoned_by, amendments_from_json, longer_list
from lrps.store.copy.inventory import Inventory, StateDirectory


def amendments_of(inventory: Inventory, path: str) -> Amendments:
    """Return the amendments of a path of an inventory; none for an unknown path, or one that cannot be read."""
    try:
        return amendments_from_json(parse_json(inventory.identities[path], path)["path"].get("amendments", ()))
    except (ValueError, KeyError, TypeError, AttributeError):
        return ()


def with_amendments(identity: Mapping[str, Any], amendments: Amendments) -> dict[str, Any]:
    """Return the content of a path.json with this list of amendments."""
    path = {key: value for key, value in identity["path"].items() if key != "amendments"}
    listed = {"amendments": [each.to_json() for each in amendments]} if amendments else {}
    return {**identity, "path": {**path, **listed}}


def ended_states(inventory: Inventory, other: Inventory) -> Iterator[tuple[StateDirectory, StateDirectory]]:
    """Yield the complete states in place whose history a rewind on one of the two sides has ended.

    Beside each is the directory that it moves to. Paths whose lists of amendments contradict each other are left out.
    """
    for each in inventory.directories.values():
        if each.kind not in ("checkpoints", "branch_points") or each.fault is not None:
            continue
        amendments = longer_list(*(amendments_of(side, each.path) for side in (inventory, other)))
        number = abandoned_by(amendments or (), each.history, each.step)
        if number is not None:
            aside = each.name.replace(each.path, f"{each.path}/abandoned/{number}", 1)
            yield each, replace(each, name=aside, present={}, pending=b"")
