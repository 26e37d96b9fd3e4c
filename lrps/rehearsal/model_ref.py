"""The two models of rehearsal, theta(0) and the latest one: which they are, and where their files lie.

A model is a directory, or a release of the plan, which is exported beside the stages. Must not import torch at the top:
the outline of a rehearsal needs names only.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrps.base.errors import CheckpointError, ConfigError, GenerationError
from lrps.base.files import sha256_file
from lrps.config.models import Rehearsal
from lrps.config.strategies import PathSwitching
from lrps.paths.graph import Release
from lrps.plan.plan import Plan
from lrps.plan.status import saved_step
from lrps.store.identity import weights_digest


@dataclass(frozen=True)
class ModelRef:
    """A model by its name in the config. release: of this plan, None for a directory of its own."""

    name: str
    directory: Path
    release: Release | None = None

    @property
    def label(self) -> str:
        """Its name without the place where it lies."""
        return self.name if self.release else self.directory.name

    @property
    def identity(self) -> dict[str, Any]:
        """What it is, wherever it lies: hashes of config and weights, and of the tokenizer. Its files must be there."""
        tokenizer = self.directory / "tokenizer.json"
        return {
            "name": self.label,
            "weights_sha256": weights_digest(self.directory),
            "tokenizer_sha256": sha256_file(tokenizer) if tokenizer.exists() else None,
        }


def latest_model(plan: Plan, rehearsal: Rehearsal) -> ModelRef:
    """The model that writes outputs again. ConfigError if there is none, or if it is trained on the very set."""
    assert rehearsal.synthesis is not None
    if rehearsal.synthesis.latest is not None:
        return _theta(plan, rehearsal, "latest", rehearsal.synthesis.latest)
    versions = [version.name for version in plan.config.data.versions]
    before = versions[versions.index(rehearsal.since) - 1]
    paradigms = plan.config.paradigms.items()
    switching = [name for name, strategy in paradigms if isinstance(strategy, PathSwitching)]
    return _theta(plan, rehearsal, "latest", f"{[*switching, *plan.config.paradigms][0]}/{before}")


def base_model(plan: Plan, rehearsal: Rehearsal) -> ModelRef | None:
    """theta(0), which writes instances; None if a server has it. ConfigError as `latest_theta`."""
    assert rehearsal.synthesis is not None
    if rehearsal.synthesis.generator != "hf":
        return None
    if rehearsal.synthesis.base is not None:
        return _theta(plan, rehearsal, "base", rehearsal.synthesis.base)
    if plan.config.model.checkpoint is not None:
        return ModelRef(plan.config.model.checkpoint.name, plan.config.model.checkpoint)
    return latest_model(plan, rehearsal)


def _theta(plan: Plan, rehearsal: Rehearsal, key: str, name: str) -> ModelRef:
    where = f"data.rehearsal.{rehearsal.name}.synthesis.{key}"
    paradigm, _, version = name.rpartition("/")
    released = next((each for each in plan.graph.paradigms if each.name == paradigm), None)
    if released is None:
        directory = Path(name)
        if not (directory / "config.json").is_file():
            names = ", ".join(each.name for each in plan.graph.paradigms)
            raise ConfigError(
                f"{where}: {name} is neither the directory of a Hugging Face model nor a release of this plan, "
                f"PARADIGM/VERSION with one of {names}; give one of the two"
            )
        return ModelRef(name, directory)
    release = next((each for each in released.releases if each.version == version), None)
    if release is None:
        versions = ", ".join(each.version for each in released.releases)
        raise ConfigError(f"{where}: {paradigm} releases no version {version}; it has {versions}")
    if rehearsal.name in _sources_of(plan, release):
        raise ConfigError(
            f"{where}: {name} is itself trained on {rehearsal.name}; take an earlier version, or raise `since`"
        )
    return ModelRef(name, plan.layout.rehearsal(f".models/{release.path}-{release.step:08d}"), release)


def _sources_of(plan: Plan, release: Release) -> set[str]:
    """What a released state was trained on: its lineage's sources, of each path up to where the next one forks."""
    lineage = plan.graph.lineage(plan.graph.by_name[release.path])
    stops = [*(path.start for path in lineage[1:]), release.step]
    found: set[str] = set()
    for path, stop in zip(lineage, stops, strict=True):
        step = path.start
        for segment in path.segments:
            if step < stop:
                found.update(part.source for part in segment.parts)
            step += segment.steps
    return found


def is_there(plan: Plan, theta: ModelRef) -> bool:
    """Whether the model is trained, or its directory there."""
    if theta.release is None:
        return (theta.directory / "config.json").is_file()
    saved = saved_step(plan.layout.path(theta.release.path))
    return saved is not None and saved >= theta.release.step


def export_model_ref(plan: Plan, theta: ModelRef, name: str) -> None:
    """Export a release, unless it is there already, checked byte for byte.

    name: of the set that it is for. GenerationError if it is not trained yet; otherwise as `export_state`.
    """
    if theta.release is None:
        return
    if not is_there(plan, theta):
        way_out = "`lrps run CONFIG` trains it, then the same command goes on"
        lineage = plan.graph.lineage(plan.graph.by_name[theta.release.path])
        if waits := [path.name for path in lineage if name in path.sources]:
            way_out = (
                f"but {waits[0]} goes on to rows of {name} itself, and waits for them: run the plan without the "
                "versions that read it first, then add them and run this again"
            )
        raise GenerationError(
            f"{theta.name} is not trained yet: {theta.release.path} has no state at step {theta.release.step}; "
            f"{way_out}"
        )
    # Here, and not at the top: torch takes seconds.
    from lrps.export.release import ExportFormat, export_state
    from lrps.export.states import PathState

    state = PathState(plan.graph.by_name[theta.release.path], theta.release.step, (theta.release.version,))
    form = ExportFormat(plan.config.engine.precision)
    try:
        export_state(plan, state, theta.directory, form)
    except CheckpointError:  # What lies there is of a path that was trained anew since, or damaged: nobody else's.
        export_state(plan, state, theta.directory, form, force=True)
