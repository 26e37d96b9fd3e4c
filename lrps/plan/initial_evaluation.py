"""Evaluation of the model that a plan starts from: row 0 of every matrix of versions. Imports no torch.

All paths without a parent start from the same state, so the records of any of them count for the whole plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from lrps.base.errors import LedgerError, LineageError
from lrps.base.locks import is_locked
from lrps.ledger.reader import HeldoutEvaluation
from lrps.paths.graph import TrainingPath
from lrps.plan.plan import Plan
from lrps.plan.status import PathStatus, path_status
from lrps.store.identity import read_identity

INITIAL = "(initial)"
"""Name of the model that a plan starts from, beside names of versions; no version of a config can have this name."""


def initial_evaluations(plan: Plan, statuses: Iterable[PathStatus]) -> dict[str, HeldoutEvaluation]:
    """Return held-out version -> evaluation of the model that the plan starts from, as far as there is one.

    Empty if the weights are drawn from the seed. statuses: of the paths of the plan. Evaluations of another model do
    not count: those from before a path that had saved nothing was started again from another one.
    """
    found: dict[str, HeldoutEvaluation] = {}
    for status in statuses if plan.config.model.is_given else ():
        started_from = _initial_weights(plan.layout.path(status.path.name).path_json)
        for evaluation in status.evaluations.values():
            known = found.get(evaluation.heldout)
            if evaluation.initial_weights is None or started_from not in (None, evaluation.initial_weights):
                continue
            if known is None or (_is_current(plan, evaluation) and not _is_current(plan, known)):
                found[evaluation.heldout] = evaluation
    return found


def _initial_weights(path_json: Path) -> str | None:
    """Return the digest of the initial weights in path.json; None if it cannot be read or has none."""
    try:
        digest = read_identity(path_json)["training"]["initial_weights"]
    except (LineageError, KeyError, TypeError):
        return None
    return digest if isinstance(digest, str) else None


def _is_current(plan: Plan, evaluation: HeldoutEvaluation) -> bool:
    """Return True if an evaluation is on the held-out sequences of the plan."""
    manifest = plan.heldout.get(evaluation.heldout)
    return manifest is not None and (evaluation.manifest_sha256, evaluation.rows) == (
        manifest.sha256,
        plan.heldout_rows(evaluation.heldout),
    )


def _readable(plan: Plan, paths: Iterable[TrainingPath]) -> Iterator[PathStatus]:
    """Yield the status of each path whose ledger can be read: that of another one stops nothing here."""
    for path in paths:
        with suppress(LedgerError):
            yield path_status(plan, path)


def missing_initial_evaluations(plan: Plan, path: TrainingPath) -> list[str]:
    """Return the held-out versions on which an attempt at `path` is to evaluate the model that the plan starts from.

    Those on which no path has evaluated it; none for a path with a parent, for weights drawn from the seed, and while a
    path that comes earlier in the graph is being trained, since the two may have started at the same moment.
    """
    if path.parent is not None or not plan.config.model.is_given:
        return []
    starts = [each for each in plan.graph.paths if each.parent is None]
    earlier = starts[: [each.name for each in starts].index(path.name)]
    if any(is_locked(plan.layout.path(each.name).directory) for each in earlier):
        return []
    found = initial_evaluations(plan, _readable(plan, starts))
    return [version for version in plan.heldout if version not in found or not _is_current(plan, found[version])]
