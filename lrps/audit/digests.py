"""Proof of rates and data: the digests that checkpoints and starts carry, compared with those of path.json.

Runs begun by earlier versions of lrps have none, or have them from a later attempt on: what has none is counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrps.audit.evidence import PathEvidence
from lrps.audit.result import Difference
from lrps.paths.amendments import generation
from lrps.paths.graph import TrainingPath
from lrps.paths.path_digest import PATH_DIGEST, PathDigest, differences, path_digest
from lrps.store.checkpoints import MANIFEST


@dataclass(frozen=True)
class _Recorded:
    """A digest of the path that was recorded at a step."""

    path: TrainingPath
    """Path in the history that the digest is of."""
    file: Path
    step: int
    digest: Any
    """Value as JSON; None if there is none."""


@dataclass(frozen=True)
class DigestCheck:
    """Result of the comparison of a run's digests."""

    compared: int
    """Number of checkpoints and starts whose digest was compared."""
    missing: int
    """Number of those without a digest."""
    differences: tuple[Difference, ...]


def check_digests(run: Mapping[str, PathEvidence]) -> DigestCheck:
    """Return the comparison of all digests of a run. run: its paths by name, parents before children.

    A path whose ancestors are not in the run is left out: its own check says so.
    """
    parents = parent_digests(run)
    compared = missing = 0
    found: list[Difference] = []
    for name, parent in parents.items():
        for recorded in _recorded(run[name]):
            compared, missing = compared + (recorded.digest is not None), missing + (recorded.digest is None)
            found += _compare(run[name], recorded, parent)
    return DigestCheck(compared, missing, tuple(found))


def parent_digests(run: Mapping[str, PathEvidence]) -> dict[str, PathDigest | None]:
    """Return path -> digest of its parent at the fork, None for paths without one, where all ancestors are there."""
    found: dict[str, PathDigest | None] = {}
    for name, evidence in run.items():
        fork = evidence.path.parent
        if fork is None:
            found[name] = None
        elif fork.path in found and (parent := run[fork.path].path).start <= fork.step <= parent.stop:
            found[name] = path_digest(parent.of_history(fork.generation), fork.step, found[fork.path])
    return found


def _recorded(evidence: PathEvidence) -> Iterator[_Recorded]:
    """Yield the digests of the starts and checkpoints of a path, as far as their step is one of the path."""
    for start in evidence.chain.starts:
        if evidence.path.start <= start.step <= evidence.path.stop:
            yield _Recorded(evidence.path.of_history(start.history), start.file, start.step, start.path_digest)
    for checkpoint in evidence.checkpoints:
        if evidence.path.start <= checkpoint.step <= evidence.path.stop:
            file, digest = checkpoint.directory / MANIFEST, checkpoint.identity.get(PATH_DIGEST)
            yield _Recorded(evidence.path, file, checkpoint.step, digest)


def _compare(evidence: PathEvidence, recorded: _Recorded, parent: PathDigest | None) -> Iterator[Difference]:
    planned = path_digest(recorded.path, recorded.step, parent)
    if differing := differences(recorded.digest, planned):
        what = f"trained up to this step with other values than path.json has: {', '.join(differing)}"
        yield Difference(what, evidence.path.name, recorded.file, recorded.step)


def check_parent_state(parent: PathEvidence, child: PathEvidence) -> Iterator[Difference]:
    """Check that the state which the child forked from is the parent's state of that step, in the child's history.

    The newest history's state is on disk, or its parent's ledger says which one was saved, as it does for an older
    history that `lrps rewind` has ended.
    """
    recorded = next((start for start in reversed(child.chain.starts) if start.step == child.path.start), None)
    if recorded is None or recorded.parent_state is None:
        return
    step, fork = recorded.step, child.path.parent
    history = 0 if fork is None else fork.generation
    in_force = generation(parent.path.amendments, step) == history
    saved = next((checkpoint for checkpoint in parent.checkpoints if in_force and checkpoint.step == step), None)
    found = parent.chain.of_history(history).state_digests.get(step) if saved is None else saved.digest
    if found is not None and found != recorded.parent_state:
        what = (
            f"the path was forked from another state of {parent.path.name} than the one that it has at this step now: "
            f"{parent.path.name} was trained again, or its state was replaced"
        )
        file = parent.layout.ledger if saved is None else saved.directory / MANIFEST
        yield Difference(what, child.path.name, file, step, expected=recorded.parent_state, found=found)
