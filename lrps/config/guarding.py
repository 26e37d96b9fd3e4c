"""The `guard` section of a config file: what happens at a spike of the training loss or of the gradient norm."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lrps.config.values import Float, Int, Section

JUDGED_FROM = 32
"""Number of values in the window from which on steps are judged."""


class GuardConfig(Section):
    """A guard against spikes. A step is a spike if its loss or its gradient norm is far above those of the last steps
    (docs/steering.md). Without this section no step is judged, and a loss that is not finite ends the attempt."""

    action: Literal["warn", "skip", "stop"]
    """`warn`: the spike is recorded, and nothing changes. `skip`: the step passes without an update, also if its loss
    or gradients are not finite, but at most three in a row; this changes what is trained, so it is part of the identity
    of every path and cannot be added to a run that was begun without it. `stop`: training ends with exit code 76, and
    nothing after the last checkpoint is saved."""
    window: Annotated[Int, Field(ge=JUDGED_FROM, le=10_000)] = 200
    """Number of steps that a step is compared with. A new window begins at every segment of a path, where other text
    may have another loss, and steps are judged from 32 values on."""
    z: Annotated[Float, Field(gt=0)] = 8.0
    """Robust deviations above the median of the window, (value - median) / (1.4826 MAD), from which on a step is a
    spike: of the loss, or of the logarithm of the gradient norm."""
