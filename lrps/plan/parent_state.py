"""The state that a path forked from, compared with the one that its parent has at that step now.

They differ if the parent was rewound and trained again, or if its state was replaced: the path then has another history
than the files beside it say. Reads files only, and imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterable

from lrps.base.errors import CheckpointError
from lrps.ledger.records import Record
from lrps.paths.graph import TrainingPath
from lrps.plan.histories import older_history
from lrps.plan.plan import Plan
from lrps.store.checkpoints import find


def forked_state(records: Iterable[Record]) -> str | None:
    """Return the digest of the manifest that the newest attempt to fork loaded; None if no record has one.

    records: those of all attempts at a path, oldest first.
    """
    parents = [record.facts.get("parent") for record in records if record.kind == "start"]
    digests = [parent["digest"] for parent in parents if isinstance(parent, dict) and "digest" in parent]
    return digests[-1] if digests else None


def other_parent(plan: Plan, path: TrainingPath, records: Iterable[Record]) -> str | None:
    """Return a description of the fork if its parent has another state at that step now; None if it has the same one.

    A parent or another ancestor that `lrps rewind` has taken back to an earlier step has another state too. None if
    either state is not known: without the parent's checkpoint, or in a ledger of an earlier version of lrps. records:
    those of a path that has saved a state.
    """
    if (older := older_history(plan, path)) is not None:
        return older
    recorded = forked_state(records)
    if path.parent is None or recorded is None:
        return None
    try:
        found = find(plan.layout.path(path.parent.path), path.parent.step)
    except CheckpointError:
        return None
    if found.digest == recorded:
        return None
    fork = path.parent
    return f"forked from another state of {fork.path} than the one that {fork.path} has at step {fork.step} now"
