"""References to the two models of rehearsal, the base model (theta(0) in the paper) and the latest model.

A model is a directory, or a release of the plan, which is exported into the set's directory. Must not import torch at
the top, because the outline of a rehearsal needs the names only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrps.base.errors import CheckpointError, ConfigError, GenerationError
from lrps.base.files import located, sha256_file
from lrps.config.rehearsing import Endpoint
from lrps.config.versions import Rehearsal
from lrps.ledger.reader import RAW
from lrps.paths.graph import Release
from lrps.plan.plan import Plan
from lrps.plan.set_order import default_latest
from lrps.plan.status import saved_step
from lrps.rehearsal.tokenizer_files import TOKENIZER_FILES, tokenizer_files_digest
from lrps.store.identity import weights_digest


@dataclass(frozen=True)
class ModelRef:
    """A model by its name in the config. release: the release of this plan; None for a model from a directory."""

    name: str
    directory: Path
    release: Release | None = None

    @property
    def label(self) -> str:
        """The name of the model without its directory."""
        return self.name if self.release else self.directory.name

    @property
    def identity(self) -> dict[str, Any]:
        """The hashes of config and weights, and of the tokenizer, independent of the directory. Reads the files.

        The files beside tokenizer.json are hashed too, except in a release, where they follow from the plan.
        """
        tokenizer = self.directory / "tokenizer.json"
        others = None if self.release is not None else tokenizer_files_digest(self.directory)
        return {
            "name": self.label,
            "weights_sha256": weights_digest(self.directory),
            "tokenizer_sha256": sha256_file(tokenizer) if tokenizer.exists() else None,
            **({} if others is None else {TOKENIZER_FILES: others}),
        }

    def differs(self, recorded: Mapping[str, Any]) -> bool:
        """Return whether a recorded identity is that of other weights or of other files of the tokenizer."""
        identity = self.identity
        keys = ["weights_sha256", *(key for key in (TOKENIZER_FILES,) if key in recorded)]
        return any(identity.get(key) != recorded.get(key) for key in keys)


def latest_model(plan: Plan, rehearsal: Rehearsal) -> ModelRef | None:
    """Return the model that refines outputs; None if a server has it.

    Raises ConfigError if it does not exist or is trained on this set.
    """
    assert rehearsal.synthesis is not None
    if isinstance(rehearsal.synthesis.latest, Endpoint):
        return None
    if rehearsal.synthesis.latest is not None:
        return _resolve(plan, rehearsal, "latest", rehearsal.synthesis.latest)
    return _resolve(plan, rehearsal, "latest", default_latest(plan.config, rehearsal))


def base_model(plan: Plan, rehearsal: Rehearsal) -> ModelRef | None:
    """Return the model that writes instances; None if a server has it. Raises ConfigError as `latest_model`."""
    assert rehearsal.synthesis is not None
    if rehearsal.synthesis.generator != "hf":
        return None
    if rehearsal.synthesis.base is not None:
        return _resolve(plan, rehearsal, "base", rehearsal.synthesis.base)
    if plan.config.model.checkpoint is not None:
        return ModelRef(plan.config.model.checkpoint.name, plan.config.model.checkpoint)
    if (latest := latest_model(plan, rehearsal)) is None:
        raise ConfigError(
            f"data.rehearsal.{rehearsal.name}.synthesis: a server has the latest model, and the plan starts from no "
            "checkpoint: give `base`, or a server as `generator`"
        )
    return latest


def _resolve(plan: Plan, rehearsal: Rehearsal, key: str, name: str) -> ModelRef:
    where = f"data.rehearsal.{rehearsal.name}.synthesis.{key}"
    paradigm, _, version = name.rpartition("/")
    released = next((each for each in plan.graph.paradigms if each.name == paradigm), None)
    if released is None:
        directory = Path(name)
        if not (directory / "config.json").is_file():
            names = ", ".join(each.name for each in plan.graph.paradigms)
            raise ConfigError(
                f"{where}: {located(directory)} is neither the directory of a Hugging Face model nor a release of this "
                f"plan, PARADIGM/VERSION with one of {names}; give one of the two"
            )
        return ModelRef(name, directory)
    release = next((each for each in released.releases if each.version == version), None)
    if release is None:
        versions = ", ".join(each.version for each in released.releases)
        raise ConfigError(f"{where}: {paradigm} releases no version {version}; it has {versions}")
    if rehearsal.name in plan.graph.sources_until(release):
        raise ConfigError(
            f"{where}: {name} is itself trained on {rehearsal.name}; take an earlier version, or raise `since`"
        )
    form = "" if release.form == RAW else f"-{release.form}"
    return ModelRef(name, plan.layout.rehearsal(f".models/{release.path}{form}-{release.step:08d}"), release)


def is_available(plan: Plan, model: ModelRef) -> bool:
    """Return whether the release is trained, or whether the directory has a model."""
    if model.release is None:
        return (model.directory / "config.json").is_file()
    saved = saved_step(plan.layout.path(model.release.path))
    return saved is not None and saved >= model.release.step


def ensure_exported(plan: Plan, model: ModelRef, name: str) -> None:
    """Export a release, unless an intact export exists; do nothing for a directory.

    name: the set that needs the model. Raises GenerationError if the release is not trained yet, and the errors of
    `export_state`.
    """
    if model.release is None:
        return
    if not is_available(plan, model):
        hint = "train it with `lrps run CONFIG`, then run the same command again"
        lineage = plan.graph.lineage(plan.graph.by_name[model.release.path])
        if waits := [path.name for path in lineage if name in path.sources]:
            hint = (
                f"but {waits[0]} also reads sequences of {name}, and waits for them: run the plan without the versions "
                "that read it first, then add them and run this again"
            )
        raise GenerationError(
            f"{model.name} is not trained yet: {model.release.path} has no state at step {model.release.step}; {hint}"
        )
    # Imported here, because torch takes seconds to load.
    from lrps.export.release import ExportFormat, export_state
    from lrps.export.states import released_state

    state = released_state(plan, model.release)
    form = ExportFormat(plan.config.engine.precision)
    try:
        export_state(plan, state, model.directory, form)
    except CheckpointError:  # An older export in the set's own directory: damaged, or its path was trained again.
        export_state(plan, state, model.directory, form, force=True)
