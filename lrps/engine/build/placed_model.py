"""The model that an attempt at a path begins with, built unit by unit where it is placed. Must not import deepspeed."""

from __future__ import annotations

from typing import Any

from lrps.base.errors import ConfigError
from lrps.engine.build.assembly import assemble
from lrps.engine.build.placement import Placement
from lrps.engine.build.skeleton import make_skeleton
from lrps.engine.build.units import find_units
from lrps.engine.build.values import DrawnValues, PlaceholderValues


def build_placed(config: Any, seed: int, placement: Placement, *, loaded: bool, keeps_padding: bool = False) -> Any:
    """Build the model of an architecture unit by unit.

    config: transformers' config of the model. loaded: whether a checkpoint will replace all weights; then they are
    placeholders, and only buffers have the values of a new model. keeps_padding: as for `make_skeleton`. Collective if
    the placement divides parameters. Raises UnfitError, before anything is drawn, if the model type cannot be built so;
    ConfigError if no model can be built from the config.
    """
    try:
        trial = make_skeleton(config, keeps_padding=keeps_padding)
    # Depending on the model type, transformers raises its own classes, ValueError, TypeError or KeyError.
    except Exception as error:
        raise ConfigError(f"model.architecture: no {config.model_type} model can be built from it: {error}") from error
    units = find_units(trial)
    skeleton = make_skeleton(config, keeps_padding=keeps_padding)
    values = PlaceholderValues(seed) if loaded else DrawnValues(seed)
    return assemble(skeleton, units, values, placement)
