"""Rows that two ranks share, beside bare loops of one process: cases of matrix_worker.py."""

from __future__ import annotations

from functools import partial
from unittest.mock import patch

import deepspeed
import torch
from matrix_state import (
    LENGTH,
    ROWS,
    STEPS,
    bare_steps,
    different,
    losses,
    make_config,
    running,
    state_of,
    train,
)
from packed_cases import END, loss_alone, packed_rows
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from lrps.base.errors import ConfigError
from lrps.config.models import Config
from lrps.engine import deepspeed_engine
from lrps.engine.checkpointing import load_checkpoint, save_checkpoint
from lrps.engine.losses import loss_head
from lrps.engine.model_config import model_config
from lrps.engine.ranks import gather, world_size
from lrps.engine.sequence.trial import check_step
from lrps.store.checkpoints import find
from lrps.store.conventions import NEWEST
from lrps.store.layout import PathLayout

# Kind, ZeRO stage, precision, whether documents are apart, cross-entropy, activation checkpointing.
QUICK = [("packed qwen3", 3, "fp32", True, None, True)]
EVERY = [
    *QUICK,
    ("packed llama", 1, "fp32", True, None, False),
    ("packed qwen3", 3, "fp32", True, "full", True),
    ("packed llama", 0, "fp32", True, None, True),
    ("packed llama", 2, "fp32", True, "full", False),
    ("packed qwen2", 3, "fp32", True, None, False),
    ("packed llama", 1, "fp32", False, "full", False),
    ("packed llama", 3, "fp32", False, None, True),
    ("packed llama", 1, "bf16", True, None, False),
    ("packed llama", 2, "bf16", True, None, False),
    ("packed llama", 3, "bf16", True, None, False),
]


def shared_rows(out):
    return {} if world_size() == 1 else {named(case): beside_bare(out, *case) for case in QUICK}


def all_shared_rows(out):
    return {named(case): beside_bare(out, *case) for case in EVERY}


def named(case):
    kind, stage, precision, apart, loss, checkpointing = case
    return f"{kind} s{stage} {precision} {'apart' if apart else 'across'} {loss} {'again' if checkpointing else 'kept'}"


def sharing(kind, stage, precision="fp32", loss=None, checkpointing=False, parts=2):
    values = make_config(kind, stage, precision, 1, checkpointing=checkpointing, clip_grad_norm=0.5)
    values = values.model_dump(mode="json", exclude_unset=True)
    values["engine"] |= {"sequence_parallel": parts, "cross_entropy": loss}
    return Config.model_validate(values)


def packed(step):
    return packed_rows(step, ROWS, LENGTH)


def own(engine, rows):
    """The rows of this rank's group."""
    return rows.chunk(engine.grid.data_ranks)[engine.grid.data_rank].numpy()


def take_steps(engine, steps, judge=None):
    for step in steps:
        engine.train_step(own(engine, packed(step)), lr=1e-2, seed=5, step=step, judge=judge)
    return losses(engine.sync_metrics().steps)


def across(model, step):
    rows = packed(step)
    return model(input_ids=rows, labels=rows).loss


def beside_bare(out, kind, stage, precision, apart, loss, checkpointing):
    """Steps and held-out losses of rows that two ranks share, and those of a bare loop on whole rows."""
    config = sharing(kind, stage, precision, loss, checkpointing)
    whole = (lambda model, step: loss_alone(model, packed(step))) if apart else across
    model, bare = bare_steps(config, whole)
    with torch.no_grad():
        expected = [float(loss_alone(model, row[None])) if apart else float(
            model(input_ids=row[None], labels=row[None]).loss) for row in packed(100)]  # fmt: skip
    judged = []

    def judge(*numbers):
        judged.append(numbers)
        return False

    with running(config, document_end=END if apart else None) as engine, patch.object(loss_head, "CHUNK_ELEMENTS", 300):
        ours = take_steps(engine, range(STEPS), judge)
        now = state_of(engine, out)
        found = engine.evaluate(own(engine, packed(100)))
        total = engine.sum_over_ranks([found.total, float(found.tokens)])
        weights = model.named_parameters() if now else ()
        apart_by = [float((now[f"fp32|{n}"] - p.detach().flatten()).abs().max()) for n, p in weights]
    of_group = gather([engine.grid.data_rank, found.means, found.total])
    return {
        "bare": bare, "ours": ours, "judged": judged, "weights_apart": max(apart_by, default=0.0), "total": total,
        "of_rows": expected, "of_group": of_group,
    }  # fmt: skip


def across_sizes(out):
    """States of shared rows that whole rows continue, and the other way round."""
    found = {}
    sizes = {2: sharing("packed llama", 3), 1: sharing("packed llama", 1, parts=1)}
    for first, then in ((2, 1), (1, 2)):
        place = PathLayout(out / f"shared-rows-{first}")
        with running(sizes[first], document_end=END) as engine:
            take_steps(engine, range(STEPS))
            saved = state_of(engine, out)
            save_checkpoint(engine, place, STEPS, {})
            straight = take_steps(engine, range(STEPS, 2 * STEPS))
            facts = engine.facts.get("sequence_parallel")
        with running(sizes[then], seed=3, document_end=END, loaded=True) as engine:
            load_checkpoint(engine, find(place, STEPS))
            changed = different(saved, state_of(engine, out))
            resumed = take_steps(engine, range(STEPS, 2 * STEPS))
        identity = find(place, STEPS).identity.get("sequence_parallel")
        found[str(first)] = {
            "straight": straight, "resumed": resumed, "different": changed, "facts": [facts, identity],
        }  # fmt: skip
    return found


def trial_step(out):
    """The trial of shared rows, what it finds, and what it leaves behind."""
    if world_size() == 1:
        return {}
    attentions = dict(ALL_ATTENTION_FUNCTIONS)
    plain = make_config("dropout", 1)
    with running(plain) as engine:
        before = losses(train(engine, [0, 1]))
    found = {"fine": tried(3, "fp32")}
    with patch.object(deepspeed_engine, "deepspeed_settings", wrongly_divided):
        found["wrongly divided"] = tried(3, "fp32")
    with running(plain) as engine:
        after = losses(train(engine, [0, 1]))
        facts = sorted(engine.facts)
    kept = [dict(ALL_ATTENTION_FUNCTIONS) == attentions, deepspeed.utils.groups.mpu is None]
    return {**found, "before": before, "after": after, "kept": kept, "facts": facts}


def tried(stage, precision):
    """What each rank is told by the trial."""
    values = sharing("packed llama", stage, precision).model_dump(mode="json", exclude_unset=True)
    values["data"]["attention_across_documents"] = False
    config = Config.model_validate(values)
    random = torch.get_rng_state()
    try:
        check_step(config, model_config(config.model), partial(deepspeed_engine.Engine, conventions=NEWEST))
        told = "nothing"
    except ConfigError as error:
        told = str(error)
    assert torch.equal(random, torch.get_rng_state())
    return gather(told)


def wrongly_divided(*given, real=deepspeed_engine.deepspeed_settings, **named):
    settings = real(*given, **named)
    settings["zero_optimization"]["reduce_scatter"] = True
    return settings
