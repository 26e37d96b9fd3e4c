"""Conventions of training that newer versions of lrps changed: a run keeps those that it began with.

A convention is a key in `training` of a path's identity; a run begun before it existed lacks the key. The path.json
files of the paths that have saved a state decide, also if no state is left of it, and a run without any follows the
newest conventions. So the training digest of a run does not change when a version is added to it, or when a path is
taken back to its start.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lrps.base.errors import LedgerError
from lrps.base.foreign_json import read_json
from lrps.ledger.reader import read_ledger
from lrps.store.checkpoints import complete_checkpoints
from lrps.store.layout import PathLayout

PADDING = "padding"
INITIALISATION = "initialisation"
GRADIENT_SUM = "gradient_sum"
FP32_SUM = "fp32"
NEWEST: Mapping[str, str] = {PADDING: "none", GRADIENT_SUM: FP32_SUM, INITIALISATION: "by-module"}
"""Every convention with its newest value.

`padding: none`: no embedding has a padding row, because sequences are never padded; before, the row of `pad_token_id`
was not trained. `gradient_sum: fp32`: in bf16 the gradients of the micro-batches of a step are summed in fp32 at every
ZeRO stage; before, stage 1 summed them in bf16. Runs in fp32 have no such key. `initialisation: by-module`: the new
weights of a module are a function of the seed and of the module's name; before, one random generator drew all weights
of the model in their order.
"""

_SAVES = ("checkpoint", "branch-point")
"""Kinds of the ledger's records of saved states."""


def conventions_of(run_dir: Path) -> dict[str, str]:
    """Return the conventions that the paths of a run follow: those of its first path that has saved a state.

    A path that has a state is taken before one that has lost all of them. A path.json that cannot be read does not
    decide; training refuses it.
    """
    files = sorted(run_dir.glob("*/path.json"))
    for decides in (_has_state, _had_state):
        for file in files:
            try:
                identity = read_json(file)
                if decides(PathLayout(file.parent), identity["path"]):
                    return conventions_in(identity)
            except (OSError, ValueError, KeyError, TypeError):
                continue
    return dict(NEWEST)


def _has_state(layout: PathLayout, _: Mapping[str, Any]) -> bool:
    """Return whether a path has a complete checkpoint."""
    return any(complete_checkpoints(each) for each in (layout.checkpoints, layout.branch_points))


def _had_state(layout: PathLayout, path: Mapping[str, Any]) -> bool:
    """Return whether a path was taken back, or has saved a state by its ledger. path: that of its path.json."""
    if path.get("amendments") or layout.abandoned(1).directory.parent.exists():
        return True
    try:
        return any(record.kind in _SAVES for record in read_ledger(layout.ledger, heartbeats=False))
    except LedgerError:
        return True  # A ledger that was changed is one of training, which refuses it.


def conventions_in(identity: Mapping[str, Any]) -> dict[str, str]:
    """Return the conventions in the identity of a path. Raises KeyError if it is none.

    A path in fp32 records no way to sum gradients. Where it records the newer `initialisation`, it was begun when bf16
    runs had the key, and other paths of its run have it.
    """
    training = identity["training"]
    found = {key: value for key, value in training.items() if key in NEWEST}
    if training.get("precision") == "fp32" and INITIALISATION in found:
        return {GRADIENT_SUM: NEWEST[GRADIENT_SUM], **found}
    return found
