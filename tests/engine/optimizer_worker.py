"""Muon and Lion under DeepSpeed on real gloo ranks: many cases in one process group, named by a word.

`quick` and `save` train and save in some topologies or in all, `load` loads what the other world has saved, `gate`
judges and clips steps. The findings of every case are in <out>/<word>-<ranks>.json.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import gate_cases
import torch
from matrix_state import LLAMA, assembled, different, losses, make_config, running, state_of, train

from lrps.config.models import ModelConfig
from lrps.config.optimizing import AdamWConfig, LionConfig, MuonConfig
from lrps.engine.checkpointing import load_checkpoint, save_checkpoint
from lrps.engine.deepspeed_engine import process_group
from lrps.engine.optimizers.kinds import optimizer_of
from lrps.engine.ranks import gather, rank, world_size
from lrps.store.checkpoints import find
from lrps.store.layout import PathLayout

SETTINGS = {
    "adamw": AdamWConfig(clip_grad_norm=None),
    "muon": MuonConfig(kind="muon", lr_ratio=2.0, no_weight_decay=("norms",)),
    "lion": LionConfig(kind="lion", weight_decay=1.0),
}
TOPOLOGIES = [
    ("muon", 1, "fp32"), ("muon", 2, "fp32"), ("muon", 3, "fp32"), ("muon", 1, "bf16"), ("muon", 3, "bf16"),
    ("lion", 1, "fp32"), ("lion", 3, "bf16"),
]  # fmt: skip
QUICK = [("muon", 1, "fp32"), ("muon", 3, "bf16")]
OTHERS = {("muon", 1, "fp32"): 3, ("muon", 2, "fp32"): 1, ("muon", 3, "fp32"): 2}
"""Topology -> the stage whose states of the other world it loads."""


MODEL = ModelConfig(architecture={**LLAMA, "intermediate_size": 40})
"""A model of whose matrices two ranks share one at stages 1 and 2."""


def config_of(kind, stage, precision):
    return make_config("llama", stage, precision, 1).model_copy(update={"optimizer": SETTINGS[kind], "model": MODEL})


def place(out, world, kind, stage, precision):
    return PathLayout(out / f"{kind}-w{world}-s{stage}-{precision}")


def quick(out):
    """The laws in two topologies."""
    return save(out, QUICK)


def save(out, topologies=TOPOLOGIES):
    """Train, save, continue; then continue from what was saved in a new engine."""
    found = {}
    for kind, stage, precision in topologies:
        config, layout = config_of(kind, stage, precision), place(out, world_size(), kind, stage, precision)
        with running(config) as engine:
            first = losses(train(engine, range(3)))
            save_checkpoint(engine, layout, 3, {})
            pieces = optimizer_of(engine._engine).pieces()
            copies = gather([[piece.state, piece.name] for piece in pieces if not piece.written])
            straight, end = losses(train(engine, range(3, 6))), state_of(engine, out)
        with running(config, seed=3, loaded=True) as engine:
            load_checkpoint(engine, find(layout, 3))
            resumed = losses(train(engine, range(3, 6)))
            different_states = different(end, state_of(engine, out))
        found[f"{kind} s{stage} {precision}"] = {
            "first": first, "straight": straight, "resumed": resumed, "different": different_states,
            "copies": sum(map(len, copies)),
        }  # fmt: skip
    with running(config_of("adamw", 1, "fp32")) as engine:
        found["adamw"] = {"first": losses(train(engine, range(1)))}
    return found


def load(out):
    """Load what the other world saved at another stage, compare it, and continue."""
    found = {}
    for (kind, stage, precision), source in OTHERS.items():
        checkpoint = find(place(out, 3 - world_size(), kind, source, precision), 3)
        with running(config_of(kind, stage, precision), seed=3, loaded=True) as engine:
            load_checkpoint(engine, checkpoint)
            now = state_of(engine, out)
            wrong = different(assembled(checkpoint.directory), now) if rank() == 0 else []
            found[f"{kind} s{stage}"] = {"different": wrong, "losses": losses(train(engine, range(3, 6)))}
    return found


def gate(out):
    """Steps that pass without an update beside steps that are never taken, and clipping of what is no matrix."""
    found = {}
    for stage, precision in ((1, "fp32"), (2, "bf16"), (3, "fp32")):
        config = config_of("muon", stage, precision)
        never = gate_cases.run(config, left_out=gate_cases.PASSED)
        judged = gate_cases.run(config, lambda step, *_: step in gate_cases.PASSED)
        found[f"s{stage} {precision}"] = {"never": never["state"], "judged": judged["state"], "asked": judged["asked"]}
        found[f"s{stage} {precision}"] |= {"clipped": clipped(config, out)}
    return found


def clipped(config, out):
    """What a step with a small limit to the norm does, beside one without a limit."""
    states = []
    for limit in (None, gate_cases.CLIP):
        settings = config.optimizer.model_copy(update={"clip_grad_norm": limit})
        with running(config.model_copy(update={"optimizer": settings})) as engine:
            train(engine, range(1))
            states.append(state_of(engine, out))
    free, limited = states
    moments = [values.double() for key, values in limited.items() if key.startswith("exp_avg|")]
    matrices = {key.split("|")[1] for key in free if key.startswith("momentum_buffer|")}
    unequal = {key for key in different(free, limited) if key.split("|")[1] in matrices}
    norm = float(torch.linalg.vector_norm(torch.cat(moments))) / 0.1 if moments else None
    return {"unequal matrices": sorted(unequal), "matrices": len(matrices), "norm": norm}


if __name__ == "__main__":
    out, what = Path(sys.argv[1]), sys.argv[2]
    with process_group():
        result = {"quick": quick, "save": save, "load": load, "gate": gate}[what](out)
        if rank() == 0:
            (out / f"{what}-{world_size()}.json").write_text(json.dumps(result))
