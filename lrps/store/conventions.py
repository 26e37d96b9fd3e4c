"""Conventions of training that newer versions of lrps changed: a run keeps those that it began with.

A convention is a key in `training` of a path's identity; a run begun before it existed lacks the key. The path.json
files of the paths that have saved a state decide, and a run without any follows the newest conventions. So the training
digest of a run does not change when a version is added to it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lrps.store.checkpoints import complete_checkpoints
from lrps.store.layout import PathLayout

PADDING = "padding"
INITIALISATION = "initialisation"
GRADIENT_SUM = "gradient_sum"
FP32_SUM = "fp32"
NEWEST: Mapping[str, str] = {PADDING: "none", GRADIENT_SUM: FP32_SUM, INITIALISATION: "by-module"}
"""Every convention with its newest value.

`padding: none`: no embedding has a padding row, because sequences are never padded; before, the row of `pad_token_id`
was not trained. `gradient_sum: fp32`: in bf16 the gradients of the micro-batches of a step are summed in fp32 at every
ZeRO stage; before, stage 1 summed them in bf16. Runs in fp32 have no such key. `initialisation: by-module`: the new
weights of a module are a function of the seed and of the module's name; before, one random generator drew all weights
of the model in their order.
"""


def conventions_of(run_dir: Path) -> dict[str, str]:
    """Return the conventions that the paths of a run follow: those of its first path with a saved state.

    A path.json that cannot be read does not decide; training refuses it.
    """
    for file in sorted(run_dir.glob("*/path.json")):
        layout = PathLayout(file.parent)
        if any(complete_checkpoints(each) for each in (layout.checkpoints, layout.branch_points)):
            try:
                return conventions_in(json.loads(file.read_text(encoding="utf-8")))
            except (OSError, ValueError, KeyError, TypeError):
                continue
    return dict(NEWEST)


def conventions_in(identity: Mapping[str, Any]) -> dict[str, str]:
    """Return the conventions in the identity of a path. Raises KeyError if it is none."""
    return {key: value for key, value in identity["training"].items() if key in NEWEST}
