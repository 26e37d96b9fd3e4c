"""A run without training whose main path has three checkpoints, and the command line of `lrps`."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import yaml
from safetensors.torch import save_file

from lrps.base.files import atomic_write_json
from lrps.config.loader import load_config
from lrps.plan.plan import make_plan
from lrps.store import checkpoints
from support.first_format import with_first_manifest
from support.values import config_values

SHAPES = {"weight": [2, 3]}


def write_saved_run(tmp_path: Path) -> Path:
    """Write a config file, and checkpoints of its main path for steps 50, 60 and 70, in the first format.

    Return the file.
    """
    file = tmp_path / "small.yaml"
    keep = {"every_steps": 10, "keep_last": 2}
    file.write_text(yaml.safe_dump(config_values(runs=str(tmp_path / "runs"), checkpoint=keep), sort_keys=False))
    plan = make_plan(load_config(file))
    layout = plan.layout.path("main")
    for step in (50, 60, 70):
        temporary = checkpoints.begin(layout.checkpoints, step)
        data = temporary / "fragments-00000-of-00001.safetensors"
        facts = {"format": "lrps-fragments/1", "adam_step": step, "shapes": SHAPES}
        states = {f"{state}|weight|0": torch.full((6,), float(step)) for state in ("fp32", "exp_avg", "exp_avg_sq")}
        save_file(states, data, {"lrps": json.dumps(facts)})
        files = {data.name: checkpoints.fsync_and_hash(data)}
        with_first_manifest(checkpoints.publish(temporary, step, files, {"path": "main", "step": step}))
    atomic_write_json(layout.path_json, plan.identity(plan.graph.by_name["main"]))
    return file
