"""The model that an attempt at a path begins with, built unit by unit where it is placed. Must not import deepspeed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lrps.base.errors import ConfigError
from lrps.engine.build.assembly import assemble
from lrps.engine.build.placement import Placement
from lrps.engine.build.skeleton import Skeleton, make_skeleton
from lrps.engine.build.stored_values import StoredValues, unread_reason
from lrps.engine.build.units import UnfitError, Unit, find_units
from lrps.engine.build.values import DrawnValues, PlaceholderValues, Values
from lrps.engine.model import check_checkpoint
from lrps.engine.ranks import failing_together, gather


def build_placed(
    config: Any,
    seed: int,
    placement: Placement,
    *,
    loaded: bool,
    checkpoint: Path | None = None,
    keeps_padding: bool = False,
) -> Any:
    """Build a model unit by unit: with new weights, with those of a Hugging Face directory, or for a state.

    config: transformers' config of the model. loaded: whether a state will replace all weights; then they are
    placeholders, and only buffers have the values of a model that begins. checkpoint: directory of the weights.
    keeps_padding: keep the padding rows of transformers; not with `checkpoint`. Collective. Raises UnfitError, before
    anything is drawn or read, if the model cannot be built so; ConfigError if no model can be built from the config, or
    if the weights of the directory are not those of its model.
    """
    where = "model.architecture" if checkpoint is None else f"model.checkpoint: {checkpoint}"

    def empty() -> Skeleton:
        return make_skeleton(config, keeps_padding=keeps_padding, redraws_padding=checkpoint is None)

    try:
        trial = empty()
    # Depending on the model type, transformers raises its own classes, ValueError, TypeError or KeyError.
    except Exception as error:
        raise ConfigError(f"{where}: no {config.model_type} model can be built from it: {error}") from error
    units = find_units(trial)
    values: Values = PlaceholderValues(seed) if loaded else DrawnValues(seed)
    if checkpoint is None:
        return assemble(empty(), units, values, placement)
    with failing_together():  # A host that cannot read the files leaves no rank waiting.
        if (reason := unread_reason(trial, checkpoint)) is not None:
            raise UnfitError(reason)
        if not loaded:
            check_checkpoint(checkpoint, config)
        stored = StoredValues(checkpoint, values, buffers_only=loaded)
    return _from_files(empty(), units, stored, placement)


def _from_files(skeleton: Skeleton, units: tuple[Unit, ...], values: StoredValues, placement: Placement) -> Any:
    model = assemble(skeleton, units, values, placement)
    # Found by the process that reads the weights, and raised by all, which would otherwise wait for it.
    if (fault := next((found for found in gather(values.fault) if found is not None), None)) is not None:
        raise ConfigError(fault)
    return model
