"""What matrix_worker.py builds its cases from: tiny configs, batches, and an independent reading of the state."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import shutil
from functools import cache

import numpy as np
import packed_cases
import torch

from lrps.config.models import Config
from lrps.engine.build.placed_model import build_placed
from lrps.engine.build.placement import Placement
from lrps.engine.deepspeed_engine import Engine, placement
from lrps.engine.model import build_model, configure
from lrps.engine.model_config import model_config
from lrps.engine.optimizers.parameter_groups import parameter_groups
from lrps.engine.ranks import ask_rank_zero, gather, rank, world_size
from lrps.engine.state_files.agreement import agree_on_index
from lrps.store.conventions import NEWEST
from support.assembled_state import assembled

ROWS, LENGTH, STEPS = 4, 16, 3
# The embedding of 4099 x 32 is above DeepSpeed's threshold for parameters that ZeRO-3 keeps gathered; the rest is not.
LLAMA = {
    "model_type": "llama", "vocab_size": 4099, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
}  # fmt: skip
DROPOUT = {
    "model_type": "gpt2", "vocab_size": 97, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64,
    "bos_token_id": 0, "eos_token_id": 0,
}  # fmt: skip
GPT2 = {**DROPOUT, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
ARCHITECTURES = {
    "llama": LLAMA, "gpt2": GPT2, "dropout": DROPOUT,
    **{f"packed {kind}": architecture for kind, architecture in packed_cases.ARCHITECTURES.items()},
    **packed_cases.DEPENDING,
}  # fmt: skip


def make_config(kind="llama", stage=1, precision="fp32", micro=None, sequences=ROWS, checkpointing=False, **optimizer):
    optimizer = {"no_weight_decay": ["norms", "biases"], **optimizer}
    return Config.model_validate(
        {
            "name": "matrix",
            "model": {"architecture": ARCHITECTURES[kind]},
            "data": {"root": "d", "sequence_length": LENGTH, "versions": [{"name": "v1"}]},
            "batch": {"sequences": sequences, "micro_sequences": micro},
            # Several hosts: the config cannot know the number of processes, so dividing is up to the engine.
            "launch": {"launcher": "deepspeed", "hostfile": "hosts"},
            "schedule": {"peak_lr": 1e-3},
            "optimizer": optimizer,
            "engine": {"zero_stage": stage, "precision": precision, "activation_checkpointing": checkpointing},
            "paradigms": {"ptfs": {}},
            "evaluation": {"batch_sequences": 2},
        }
    )


def placed(config, seed, where=None, loaded=False):
    """The model of a path, by default whole and in fp32 on this rank."""
    model = build_placed(model_config(config.model), seed, where or Placement(), loaded=loaded)
    configure(model, config.engine.activation_checkpointing, None)
    return model


@contextlib.contextmanager
def running(config, seed=0, document_end=None, prepare=lambda model: model, loaded=False):
    """An engine on a model as a path gets it. loaded: its weights are placeholders, for a checkpoint to replace."""
    engine = Engine(config, prepare(placed(config, seed, placement(config), loaded)), document_end, conventions=NEWEST)
    try:
        yield engine
    finally:
        engine.close()


def batch(step, vocabulary=97):
    return np.random.default_rng(step).integers(0, vocabulary, (ROWS, LENGTH))


def share(rows):
    each = len(rows) // world_size()
    return rows[rank() * each : (rank() + 1) * each]


def take_step(engine, step, rows=None, lr=1e-2, seed=5, **flags):
    """Take one step and sync: return (result, sync). Raise NonFiniteLoss if the step was not finite."""
    engine.train_step(share(batch(step)) if rows is None else rows, lr=lr, seed=seed, step=step)
    sync = engine.sync_metrics(**flags)
    if sync.failure is not None:
        raise sync.failure
    return sync.steps[0], sync


def train(engine, steps, batch=batch):
    return [take_step(engine, step, share(batch(step)))[0] for step in steps]


def train_with_one_sync(engine, steps):
    """Train as `train` does, with one metrics sync at the end."""
    for step in steps:
        engine.train_step(share(batch(step)), lr=1e-2, seed=5, step=step)
    return engine.sync_metrics().steps


def losses(results):
    return [(result.loss, result.grad_norm) for result in results]


def bare_steps(config, loss_of):
    """(model, [(loss, norm)]) of STEPS steps of a bare AdamW loop."""
    model = placed(config, 0)
    adam = torch.optim.AdamW(parameter_groups(model, config.optimizer), lr=1e-2, betas=(0.9, 0.95))
    told = []
    for step in range(STEPS):
        loss = loss_of(model, step)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        adam.step()
        adam.zero_grad()
        told.append((float(loss.detach()), float(norm)))
    return model, told


def state_of(engine, out):
    """All of the engine's state, on rank 0 (an empty dict elsewhere)."""
    directory = out / f"state-{world_size()}"
    ask_rank_zero(lambda: (shutil.rmtree(directory, ignore_errors=True), directory.mkdir(parents=True))[0])
    own = engine.own_fragments()
    index = agree_on_index(own, 2)
    own.write(directory, index, rank())
    ask_rank_zero(lambda: (directory / "index.json").write_text(index.text()))
    gather(None)
    state = assembled(directory) if rank() == 0 else {}
    gather(None)
    return state


def different(one, other):
    return sorted(key for key in one.keys() | other.keys() if key not in one or key not in other
                  or one[key].shape != other[key].shape or not torch.equal(one[key], other[key]))  # fmt: skip


def digest(tensors):
    """SHA-256 of the names and values of tensors."""
    found = hashlib.sha256()
    for name, values in sorted(tensors.items()):
        found.update(name.encode() + values.detach().float().cpu().numpy().tobytes())
    return found.hexdigest()


@cache
def _plain_model(kind):
    return build_model(make_config(kind).model, 99).eval()


def plain_loss(kind, state, precision, rows):
    """The loss of the state in a bare transformers model: an independent check of the weights that forward uses."""
    model = copy.deepcopy(_plain_model(kind))
    frequencies = {name: b.clone() for name, b in model.named_buffers()}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(state[f"fp32|{name}"].view_as(parameter))
        if precision == "bf16":
            model.bfloat16()
            for name, buffer in model.named_buffers():
                buffer.data = frequencies[name]
        ids = torch.from_numpy(rows)
        return float(model(input_ids=ids, labels=ids).loss) * rows[:, 1:].size
