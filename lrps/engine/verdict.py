"""Verdicts of examinations, remembered in the run directory: the same model is not examined again.

A verdict holds for one config, one version of transformers and one version of the examination.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lrps.base.errors import ConfigError
from lrps.base.files import atomic_write_json
from lrps.base.foreign_json import read_json
from lrps.config.model_directory import read_model_config
from lrps.config.models import Config, ModelConfig
from lrps.engine.examination import Demands, Verdict, examine_config
from lrps.engine.model import check_checkpoint
from lrps.engine.model_config import model_config

FORMAT = "lrps-examination/1"
_VERSION = 1
"""Version of the examination: raised when its checks change, so that no older verdict counts."""


def demands_of(config: Config) -> Demands:
    """Return what a config demands of its model."""
    engine = config.engine
    return Demands(
        config.data.sequence_length,
        activation_checkpointing=engine.activation_checkpointing,
        attention=engine.attention,
        documents_apart=not config.data.attention_across_documents,
        chunked_loss=engine.cross_entropy == "chunked",
    )


def examine_model(config: Config, model: Any, remembered: Path | None = None) -> Verdict:
    """Return the verdict on the model of a config, from the file `remembered` if it has one.

    model: what `model_config` returned for it. The file is written if it has no verdict; a file that cannot be read
    counts as none.
    """
    demands = demands_of(config)
    key = _key(_described(config.model), demands)
    if remembered is not None and (known := _read(remembered, key)) is not None:
        return known
    verdict = examine_config(model, demands)
    if remembered is not None:
        remembered.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_json(remembered, {"format": FORMAT, "key": key, **asdict(verdict)})
    return verdict


def check_trainable(
    config: Config, model: Any, remembered: Path | None = None, *, begun: bool = False
) -> tuple[str, ...]:
    """Return the notes of the verdict on a model. Raises ConfigError with its faults if it must not be trained.

    model, remembered: as for `examine_model`. begun: whether the run was begun before models were examined
    (`Plan.begun`). Then the faults are notes.
    """
    verdict = examine_begun(config, model, remembered) if begun else examine_model(config, model, remembered)
    if verdict.faults:
        raise ConfigError("\n  ".join(verdict.faults))
    return verdict.notes


def examine_begun(config: Config, model: Any, remembered: Path | None = None) -> Verdict:
    """Return the verdict on the model of a run that was begun before models were examined: notes only.

    What a new run with this config is refused for is a note, because the run keeps the model that it began with. model,
    remembered: as for `examine_model`.
    """
    verdict = examine_model(config, model, remembered)
    faults = dict.fromkeys((*_refusals(config.model, model), *verdict.faults))
    return Verdict(notes=(*map(as_note, faults), *verdict.notes))


def as_note(fault: str) -> str:
    """Return the note of a begun run about what a new one is refused for."""
    return f"{fault} (a new plan is refused for this; this run was begun before, and keeps its model)"


def _refusals(described: ModelConfig, model: Any) -> Iterator[str]:
    """Yield what a new run is refused for before its model is examined."""
    try:
        model_config(described)
    except ConfigError as fault:
        yield str(fault)
    try:
        if described.checkpoint is not None:
            check_checkpoint(described.checkpoint, model)
    except ConfigError as fault:
        yield str(fault)


def _described(model: ModelConfig) -> str:
    """Return the description of a model by which transformers builds it."""
    described = model.architecture if model.checkpoint is None else read_model_config(model.checkpoint)
    return json.dumps(described, sort_keys=True)


def _key(described: str, demands: Demands) -> str:
    """Return a hash of everything that a verdict depends on."""
    import transformers

    parts: list[Any] = [described, asdict(demands), transformers.__version__, _VERSION]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _read(file: Path, key: str) -> Verdict | None:
    try:
        values = read_json(file)
        if values["format"] == FORMAT and values["key"] == key:
            return Verdict(tuple(values["faults"]), tuple(values["notes"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None
