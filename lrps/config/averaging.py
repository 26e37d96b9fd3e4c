"""The `average` section of a config file: averages of the weights of the main path, beside the weights themselves."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated

from pydantic import Field

from lrps.config.strategies import PathSwitching, Strategy
from lrps.config.values import Float, Section


class EmaConfig(Section):
    """An exponential moving average of the fp32 weights (docs/steering.md)."""

    horizon: Annotated[Float, Field(gt=0, lt=1)] = 0.045
    """Number of steps that the average reaches back, as a share of the steps so far: after t steps the weights of the
    last `horizon` x t steps (at least 10) have 63 % of the weight. It cannot change once a path has an average."""


class AverageConfig(Section):
    """Averages of the main path's weights. They do not change what is trained, and other paths have none."""

    ema: EmaConfig
    """Exponential moving average, for `lrps export CONFIG main --ema`. It takes 4 bytes for each parameter, on the
    devices and in every checkpoint of the main path. A path that was begun without one begins it from the weights of
    the step at which it continues."""


def check_released(average: AverageConfig | None, strategies: Mapping[str, Strategy]) -> None:
    """Raise ValueError if a paradigm releases an average that the main path does not have."""
    for name, strategy in strategies.items():
        if average is not None or not isinstance(strategy, PathSwitching):
            continue
        keys = {"release": strategy.release}
        keys |= {f"release_per_version.{version}": state for version, state in strategy.release_per_version.items()}
        for key, state in keys.items():
            if state == "ema":
                raise ValueError(
                    f"paradigms.{name}.{key}: ema is the moving average of the main path's weights, and there is "
                    "none; add average: {ema: {}}, or release main or merge"
                )


def check_average(kinds: Collection[str]) -> None:
    """Raise ValueError if no path can have an average. kinds: those of the paradigms."""
    if "path-switching" not in kinds:
        raise ValueError(
            "average: only the main path of path switching has an average, and no paradigm is of the kind "
            "path-switching; add one, or remove the section"
        )
