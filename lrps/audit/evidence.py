"""What a run directory says about its paths, read and not yet judged: the edge of the audit.

Everything is in the run: a copied one can be audited without its config and without its data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrps.audit.attempts import Chain, follow
from lrps.audit.result import Difference
from lrps.base.errors import LineageError
from lrps.ledger.reader import read_ledger
from lrps.ledger.records import attempt_files
from lrps.paths.graph import TrainingPath
from lrps.store.checkpoints import Checkpoint, complete_checkpoints
from lrps.store.identity import path_from_json, training_digest
from lrps.store.layout import PathLayout


@dataclass(frozen=True)
class SourceFacts:
    """What a path says about data that it reads. rows: the length of an epoch."""

    manifest_sha256: str
    rows: int


@dataclass(frozen=True)
class Training:
    """What decides which rows a step reads."""

    seed: int
    order: str
    batch_sequences: int
    sequence_length: int
    row_order: tuple[str, ...]
    """The names of the order within a source and of the mixture."""
    sha256: str
    """Of everything that path.json says of the training, as the checkpoints carry it."""
    initial_state: str | None
    """Digest of the state that paths without a parent start from, where the config names one."""

    @property
    def tokens_per_step(self) -> int:
        return self.batch_sequences * self.sequence_length


@dataclass(frozen=True)
class Evidence:
    """One path of the run."""

    layout: PathLayout
    path: TrainingPath
    training: Training
    sources: Mapping[str, SourceFacts]
    checkpoints: tuple[Checkpoint, ...]
    chain: Chain
    differences: tuple[Difference, ...]
    """What could not be read."""

    @property
    def path_json(self) -> Path:
        return self.layout.path_json


def read_run(run_dir: Path) -> tuple[tuple[Evidence, ...], tuple[Difference, ...]]:
    """Every path of a run, parents before children, and what is wrong with those that cannot be read.

    Raises LineageError if there is no path at all.
    """
    marks = ("path.json", "ledger", "checkpoints", "branch_points")
    directories = sorted({found.parent for mark in marks for found in run_dir.glob(f"[!.]*/{mark}")})
    if not directories:
        raise LineageError(
            f"{run_dir} holds no path that was begun: train one with `lrps run CONFIG`, or give the directory of a run"
        )
    read = [_read_path(PathLayout(directory)) for directory in directories]
    paths = sorted((one for one in read if isinstance(one, Evidence)), key=lambda one: (one.path.start, one.path.name))
    return tuple(paths), tuple(one for one in read if isinstance(one, Difference))


def _read_path(layout: PathLayout) -> Evidence | Difference:
    name = layout.directory.name
    try:
        values = json.loads(layout.path_json.read_text(encoding="utf-8"))
        path = path_from_json(values["path"])
        training = _training(values)
        sources = {
            source: SourceFacts(facts["manifest_sha256"], int(facts["rows"]))
            for source, facts in values["sources"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return Difference(f"cannot be read as a path ({error}); restore it from a copy", name, layout.path_json)
    if path.name != name:
        return Difference("the directory has another name than its path", name, layout.path_json, None, None, path.name)
    # Checkpoints before the ledger: of a path that is being trained, the ledger must know all that were seen.
    checkpoints, damaged = _read_checkpoints(layout, name)
    return Evidence(
        layout, path, training, sources, checkpoints, _read_chain(layout, path, training, sources, checkpoints), damaged
    )


def _training(values: Mapping[str, Any]) -> Training:
    facts = values["training"]
    known = {key: facts[key] for key in ("seed", "order", "batch_sequences", "sequence_length")}
    order, initial = tuple(facts.get("row_order", ())), facts["initial_weights"] if facts.get("initial_state") else None
    return Training(**known, row_order=order, sha256=training_digest(values), initial_state=initial)


def _read_checkpoints(layout: PathLayout, name: str) -> tuple[tuple[Checkpoint, ...], tuple[Difference, ...]]:
    places = (layout.branch_points, layout.checkpoints)
    complete = tuple(one for place in places for one in complete_checkpoints(place) if _says_where_it_stands(one))
    whole = {checkpoint.directory for checkpoint in complete}
    named = {directory for place in places for directory in place.glob("step-*")}
    what = "the checkpoint is incomplete or was changed after it was written"
    # is_dir: one may have been pruned while it was looked at.
    damaged = tuple(Difference(what, name, directory) for directory in sorted(named - whole) if directory.is_dir())
    return complete, damaged


def _says_where_it_stands(checkpoint: Checkpoint) -> bool:
    identity = checkpoint.identity
    positions = identity.get("positions") if isinstance(identity, dict) else None
    return isinstance(positions, dict) and all(type(position) is int for position in positions.values())


def _read_chain(
    layout: PathLayout,
    path: TrainingPath,
    training: Training,
    sources: Mapping[str, SourceFacts],
    checkpoints: tuple[Checkpoint, ...],
) -> Chain:
    start_facts: dict[str, Any] = {
        "path": path.name,
        "path_start": path.start,
        "parent": None if path.parent is None else {"path": path.parent.path, "step": path.parent.step},
        "tokens_per_step": training.tokens_per_step,
        "initial_state": training.initial_state,
    }
    return follow(
        read_ledger(layout.ledger),
        path,
        start_facts=start_facts,
        source_facts={
            "manifests": {name: source.manifest_sha256 for name, source in sources.items()},
            "rows": {name: source.rows for name, source in sources.items()},
        },
        files=[file for file in attempt_files(layout.ledger) if _begun(file)] or [layout.ledger],
        on_disk={checkpoint.step for checkpoint in checkpoints},
    )


def _begun(ledger_file: Path) -> bool:
    """False for the file of an attempt that died before its first record was whole."""
    with open(ledger_file, "rb") as lines:
        return lines.readline().endswith(b"\n")
