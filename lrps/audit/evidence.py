"""Reading of everything in a run directory that the audit needs: path.json, checkpoints and ledgers of every path.

The run directory is enough: a copy of it can be audited without its config and its data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lrps.audit.attempts import AttemptChain, chain_attempts
from lrps.audit.result import Difference
from lrps.base.errors import LineageError
from lrps.base.files import located, regular_file
from lrps.base.foreign_json import LARGEST_BYTES, read_json
from lrps.data.sources import mixture_sha256
from lrps.ledger.reader import read_ledger
from lrps.ledger.records import attempt_files
from lrps.paths.amended import forked
from lrps.paths.graph import TrainingPath
from lrps.store.checkpoints import Checkpoint, complete_checkpoints
from lrps.store.identity import EQUAL_DIGESTS, ORDER_SEED, path_from_json, training_digest
from lrps.store.layout import PathLayout


@dataclass(frozen=True)
class PartFacts:
    """Facts in path.json about a part of a mixed source."""

    name: str
    """Name of its shards: <version>.<part>."""
    manifest_sha256: str
    """Identity of its data."""
    rows: int
    """Number of rows of an epoch of the part."""
    count: int
    """Number of its rows in an epoch of the source."""


@dataclass(frozen=True)
class SourceFacts:
    """Facts in path.json about a source of the path."""

    manifest_sha256: str
    """Identity of the source's data."""
    rows: int
    """Number of rows of an epoch."""
    mixture: tuple[PartFacts, ...] = ()
    """Its parts, if it mixes any."""

    def parts(self, source: str) -> tuple[PartFacts, ...]:
        """Return its sets of shards: the parts of its mixture, or one that is the source itself."""
        return self.mixture or (PartFacts(source, self.manifest_sha256, self.rows, self.rows),)


@dataclass(frozen=True)
class Training:
    """Training settings in path.json that decide which rows a step reads."""

    seed: int
    """Seed of the order of rows."""
    order: str
    """Extent of the shuffle: `full` or `window`."""
    batch_sequences: int
    """Number of rows of a step."""
    sequence_length: int
    """Number of tokens in a row."""
    row_order: tuple[str, ...]
    """Names of the algorithms for the order within a source and for the mixture."""
    sha256: str
    """Training digest: a hash of all training settings, which every checkpoint carries."""
    equal: frozenset[str] = field(compare=False)
    """Digests of the same training under another record, which `lrps repair` found."""
    initial_state: str | None
    """Digest of the state that paths without a parent start from; None if the config names none."""

    @property
    def tokens_per_step(self) -> int:
        """Number of tokens of a step."""
        return self.batch_sequences * self.sequence_length


@dataclass(frozen=True)
class PathEvidence:
    """Everything that the run directory says about one path."""

    layout: PathLayout
    path: TrainingPath
    training: Training
    sources: Mapping[str, SourceFacts]
    """Facts about every source of the path, by name."""
    checkpoints: tuple[Checkpoint, ...]
    """Complete checkpoints; pinned ones first."""
    chain: AttemptChain
    differences: tuple[Difference, ...]
    """One difference for each damaged checkpoint."""

    @property
    def path_json(self) -> Path:
        """Path of the path.json file."""
        return self.layout.path_json


def read_run(run_dir: Path) -> tuple[tuple[PathEvidence, ...], tuple[Difference, ...]]:
    """Return all paths of a run, parents before children, and a difference for every path that cannot be read.

    Raises LineageError if there is no path at all.
    """
    marks = ("path.json", "ledger", "checkpoints", "branch_points")
    directories = sorted({found.parent for mark in marks for found in run_dir.glob(f"[!.]*/{mark}")})
    if not directories:
        raise LineageError(
            f"{located(run_dir)} has no path that was started: train one with `lrps run CONFIG`, or give the directory "
            "of a run"
        )
    read = [_read_path(PathLayout(directory)) for directory in directories]
    paths = [one for one in read if isinstance(one, PathEvidence)]
    paths.sort(key=lambda one: (one.path.start, one.path.name))
    amended: dict[str, TrainingPath] = {}
    for one in paths:
        amended[one.path.name] = forked(one.path, amended)
    paths = [replace(one, path=amended[one.path.name]) for one in paths]
    return tuple(paths), tuple(one for one in read if isinstance(one, Difference))


def _read_path(layout: PathLayout) -> PathEvidence | Difference:
    name = layout.directory.name
    try:
        values = read_json(layout.path_json)
        path = path_from_json(values["path"])
        _check_numbers(path)
        training = _training(values)
        sources = {source: _source_facts(facts) for source, facts in values["sources"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return Difference(f"cannot be read as a path ({error}); restore it from a copy", name, layout.path_json)
    if path.name != name:
        return Difference("the directory has another name than its path", name, layout.path_json, None, None, path.name)
    # Checkpoints first: if the path is being trained, the ledger then has a record of every checkpoint that was seen.
    checkpoints, damaged = _read_checkpoints(layout, name)
    return PathEvidence(
        layout, path, training, sources, checkpoints, _read_chain(layout, path, training, sources, checkpoints), damaged
    )


def _check_numbers(path: TrainingPath) -> None:
    """Raise TypeError if a step or a rate of the schedule is no number."""
    for piece in path.schedule.clipped(path.start, path.stop):
        math.isfinite(piece.lr_start), math.isfinite(piece.lr_stop), math.isfinite(piece.coefficient)


def _source_facts(facts: Mapping[str, Any]) -> SourceFacts:
    """Return the facts about a source. Raises ValueError for a mixture whose parts are not those of its identity."""
    parts = tuple(PartFacts(**part) for part in facts.get("parts", ()))
    found = SourceFacts(facts["manifest_sha256"], int(facts["rows"]), parts)
    if parts and (sum(part.count for part in parts), mixture_sha256(facts["parts"])) != (
        found.rows,
        found.manifest_sha256,
    ):
        raise ValueError("the parts of a mixture were changed")
    return found


def _training(values: Mapping[str, Any]) -> Training:
    facts = values["training"]
    known = {key: facts[key] for key in ("order", "batch_sequences", "sequence_length")}
    seed = facts.get(ORDER_SEED, facts["seed"])
    order, initial = tuple(facts.get("row_order", ())), facts["initial_weights"] if facts.get("initial_state") else None
    equal = frozenset(values.get(EQUAL_DIGESTS, ()))
    return Training(seed, **known, row_order=order, sha256=training_digest(values), equal=equal, initial_state=initial)


def _read_checkpoints(layout: PathLayout, name: str) -> tuple[tuple[Checkpoint, ...], tuple[Difference, ...]]:
    places = (layout.branch_points, layout.checkpoints)
    complete = tuple(one for place in places for one in complete_checkpoints(place) if _has_positions(one))
    whole = {checkpoint.directory for checkpoint in complete}
    named = {directory for place in places for directory in place.glob("step-*")}
    what = "the checkpoint is incomplete or was changed after it was written"
    # is_dir: a checkpoint may have been pruned since it was listed.
    damaged = tuple(Difference(what, name, directory) for directory in sorted(named - whole) if directory.is_dir())
    return complete, damaged


def _has_positions(checkpoint: Checkpoint) -> bool:
    identity = checkpoint.identity
    positions = identity.get("positions") if isinstance(identity, dict) else None
    return isinstance(positions, dict) and all(type(position) is int for position in positions.values())


def _read_chain(
    layout: PathLayout,
    path: TrainingPath,
    training: Training,
    sources: Mapping[str, SourceFacts],
    checkpoints: tuple[Checkpoint, ...],
) -> AttemptChain:
    start_facts: dict[str, Any] = {
        "path": path.name,
        "path_start": path.start,
        "parent": None if path.parent is None else {"path": path.parent.path, "step": path.parent.step},
        "tokens_per_step": training.tokens_per_step,
        "initial_state": training.initial_state,
    }
    return chain_attempts(
        read_ledger(layout.ledger),
        path,
        start_facts=start_facts,
        source_facts={
            "manifests": {name: source.manifest_sha256 for name, source in sources.items()},
            "rows": {name: source.rows for name, source in sources.items()},
        },
        files=[file for file in attempt_files(layout.ledger) if _has_record(file)] or [layout.ledger],
        on_disk={checkpoint.step for checkpoint in checkpoints},
    )


def _has_record(ledger_file: Path) -> bool:
    """Return whether a ledger file has a complete record. An attempt may have died before it wrote one."""
    with open(ledger_file, "rb", opener=regular_file) as lines:
        return lines.readline(LARGEST_BYTES).endswith(b"\n")
