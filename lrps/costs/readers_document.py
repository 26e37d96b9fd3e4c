"""Readers of a source: the paths, releases and exports that contain text of it, as `lrps data readers` prints them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar

from lrps.audit.evidence import PathEvidence, read_run
from lrps.audit.readers import SourceRead, rows_read, source_read
from lrps.audit.result import Difference
from lrps.audit.run import audit_paths
from lrps.base.document import INLINE
from lrps.base.errors import ConfigError, LineageError
from lrps.base.foreign_json import read_json
from lrps.ledger.reader import read_ledger
from lrps.paths.graph import TrainingPath
from lrps.plan.plan import Plan
from lrps.plan.status import is_foreign
from lrps.store.checkpoints import MANIFEST
from lrps.store.layout import RELEASE_FACTS


@dataclass(frozen=True)
class PathReader:
    """Sequences of the source that a path has read up to its newest saved state, and those that it would read."""

    name: str
    """Name of the path."""
    in_plan: bool
    """False for a directory of the run that belongs to another plan, or to a path that the plan has no more."""
    step: int | None
    """Lineage step of the newest saved state; null if there is none."""
    read: SourceRead | None
    """Sequences that this state contains; null if it contains none of the source."""
    sequences_to_come: int
    """Number of sequences that the path's own steps would read if it was trained to its end."""


@dataclass(frozen=True)
class ReleaseReader:
    """A released version that contains sequences of the source."""

    version: str
    """Name of the version."""
    paradigms: tuple[str, ...]
    """Paradigms that release this state."""
    path: str
    """Name of the path."""
    step: int
    """Lineage step of the state."""
    read: SourceRead = field(metadata=INLINE)


@dataclass(frozen=True)
class ExportReader:
    """An exported model that contains sequences of the source, by the run's own ledger."""

    directory: str
    """Directory that it was written to."""
    path: str
    """Name of the path."""
    step: int
    """Lineage step of the state."""
    sequences: int
    """Number of sequences that it contains."""


@dataclass(frozen=True)
class DerivedSet:
    """A rehearsal set whose text models wrote after the source."""

    name: str
    """Name of the set."""
    demonstrations: bool
    """True if documents of the source were demonstrations in its prompts."""
    models: tuple[str, ...]
    """Models that wrote it and contain sequences of the source, as PARADIGM/VERSION."""


@dataclass(frozen=True)
class InitialReader:
    """Evidence in the model that the plan starts from about a source with the same name or the same data."""

    where: str
    """Directory of the model."""
    sequences: int | None
    """Number of sequences that it has read; null if it does not say."""
    same_data: bool | None
    """True if the hash of the data is the same, False if it differs; null if the model does not record it."""


@dataclass(frozen=True)
class ReadersDocument:
    """Everything in a run that contains text of one source."""

    FORMAT: ClassVar[str] = "lrps-readers/1"
    run_dir: str
    """Directory of the run."""
    source: str
    """Name of the version or rehearsal set."""
    manifest_sha256: str | None
    """SHA-256 of the manifest of its training shards; null before they are built."""
    proved: bool
    """True if `lrps data audit` finds no difference in the run, False if what follows may be incomplete."""
    difference: str | None
    """First difference of the audit; null if there is none."""
    paths: tuple[PathReader, ...]
    """Paths that have read the source or would read it, parents before children."""
    releases: tuple[ReleaseReader, ...]
    """Trained releases that contain it, in the order of the paradigms."""
    exports: tuple[ExportReader, ...]
    """Exported models that contain it, oldest first."""
    derived: tuple[DerivedSet, ...]
    """Rehearsal sets that were written after it."""
    initial: InitialReader | None
    """The model that the plan starts from, if it names the source in its history; null if it does not."""


def readers_document(plan: Plan, source: str) -> ReadersDocument:
    """Return the readers of a source. Raises ConfigError, with the nearest name, for an unknown one.

    Sequences count if a saved state contains them. A running attempt may have read more since its last save.
    """
    paths, unreadable = _read(plan)
    run = {evidence.path.name: evidence for evidence in paths}
    _check_known(plan, run, source)
    audit = audit_paths(plan.layout.run_dir, paths, unreadable)
    known = plan.sources.get(source)
    return ReadersDocument(
        run_dir=str(plan.layout.run_dir.absolute()),
        source=source,
        manifest_sha256=known.sha256 if known else None,
        proved=audit.ok,
        difference=None if audit.ok else str(audit.differences[0]),
        paths=tuple(_paths(plan, run, source)),
        releases=tuple(_releases(plan, run, source)),
        exports=tuple(_exports(plan, run, source)),
        derived=tuple(_derived(plan, run, source)),
        initial=_initial(plan, run, source),
    )


def _read(plan: Plan) -> tuple[tuple[PathEvidence, ...], tuple[Difference, ...]]:
    try:
        return read_run(plan.layout.run_dir)
    except LineageError:
        return (), ()  # No path was started.


def _check_known(plan: Plan, run: Mapping[str, PathEvidence], source: str) -> None:
    known = dict.fromkeys([*plan.rows, *(name for evidence in run.values() for name in evidence.path.sources)])
    if source not in known:
        version, _, part = source.partition(".")
        near = [version] if part and version in known else get_close_matches(source, known, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"{source} is no version and no rehearsal set: there are {', '.join(known)}{hint}")


def _paths(plan: Plan, run: Mapping[str, PathEvidence], source: str) -> Iterator[PathReader]:
    """Yield the paths of the plan, then the others in its directory, that have read the source or would."""
    own = {path.name: path for path in plan.graph.paths if not is_foreign(plan, path)}
    for name in dict.fromkeys([*own, *run]):
        evidence = run.get(name)
        end = None if evidence is None or evidence.chain.end == evidence.path.start else evidence.chain.end
        read = None if end is None else source_read(run, name, end, source)
        to_come = _to_come(own[name], end, source) if name in own else 0
        if read is not None or to_come:
            yield PathReader(name, name in own, end, read, to_come)


def _to_come(path: TrainingPath, end: int | None, source: str) -> int:
    return rows_read(path, path.stop, source) - (0 if end is None else rows_read(path, min(end, path.stop), source))


def _releases(plan: Plan, run: Mapping[str, PathEvidence], source: str) -> Iterator[ReleaseReader]:
    for release in plan.graph.releases:
        if (read := _contains(run, release.path, release.step, source)) is not None:
            paradigms = tuple(each.name for each in plan.graph.paradigms if release in each.releases)
            yield ReleaseReader(release.version, paradigms, release.path, release.step, read)


def _contains(run: Mapping[str, PathEvidence], path: str, step: int, source: str) -> SourceRead | None:
    """Return what a saved state contains of the source; None if it was not saved, or contains none."""
    saved = path in run and step in run[path].chain.saves and step > run[path].path.start
    return source_read(run, path, step, source) if saved else None


def _exports(plan: Plan, run: Mapping[str, PathEvidence], source: str) -> Iterator[ExportReader]:
    if not plan.layout.ledger.is_dir():
        return
    exports = [record for record in read_ledger(plan.layout.ledger) if record.kind == "export"]
    newest = {record.facts["directory"]: record for record in exports}
    for directory, record in newest.items():
        if (read := _contains(run, record.facts["path"], record.step, source)) is not None:
            yield ExportReader(directory, record.facts["path"], record.step, read.sequences)


def _derived(plan: Plan, run: Mapping[str, PathEvidence], source: str) -> Iterator[DerivedSet]:
    for name in (each.name for each in plan.rehearsal if each.name in plan.sources and each.name != source):
        made = [part.manifest.provenance for part in plan.sources[name].parts]
        shown = any(source in provenance.get("of", {}) for provenance in made)
        pairs = ((provenance, key) for provenance in made for key in ("base", "latest"))
        writers = dict.fromkeys((provenance.get(key) or {}).get("name") for provenance, key in pairs)
        models = tuple(model for model in writers if model is not None and _wrote_after(plan, run, model, source))
        if shown or models:
            yield DerivedSet(name, shown, models)


def _wrote_after(plan: Plan, run: Mapping[str, PathEvidence], model: str, source: str) -> bool:
    """Return True if a model, given as PARADIGM/VERSION, is a release of the plan that contains the source."""
    named = {f"{each.name}/{release.version}": release for each in plan.graph.paradigms for release in each.releases}
    release = named.get(model)
    return release is not None and _contains(run, release.path, release.step, source) is not None


def _initial(plan: Plan, run: Mapping[str, PathEvidence], source: str) -> InitialReader | None:
    """Return what the model that the plan starts from says of the source; None if it says nothing of it."""
    model = plan.config.model
    if model.checkpoint is not None:
        return _exported_model(plan, model.checkpoint, source)
    if model.initial_state is None:
        return None
    # Its identity has the positions of the path that saved it, by name: the data may be other data of this name.
    rows = _initial_state(model.initial_state, run).get("positions", {}).get(source)
    return None if rows is None else InitialReader(str(model.initial_state), rows, None)


def _initial_state(directory: Path, run: Mapping[str, PathEvidence]) -> Mapping[str, Any]:
    """Return the identity of the initial state, from path.json of a path that started from it or from itself."""
    stored = next((evidence.path_json for evidence in run.values() if evidence.path.parent is None), None)
    file, keys = (stored, ("initial_state",)) if stored else (directory / MANIFEST, ("identity",))
    return _json(file, *keys)


def _exported_model(plan: Plan, directory: Path, source: str) -> InitialReader | None:
    """Return what a model that `lrps export` wrote says of the source."""
    data, known = _json(directory / RELEASE_FACTS).get("data", ()), plan.sources.get(source)
    for facts in data:
        same = None if known is None else facts["manifest_sha256"] == known.sha256
        if same or facts["name"] == source:
            return InitialReader(str(directory), facts["read_rows"], same)
    return None


def _json(file: Path, *keys: str) -> Mapping[str, Any]:
    """Return the object of a JSON file, or the one below its keys; an empty one if there is none."""
    try:
        found = read_json(file)
        for key in keys:
            found = found[key]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}
