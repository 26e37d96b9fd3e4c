"""Settings of `engine.deepspeed`, one after another, and sums of gradients: cases of matrix_worker.py."""

from __future__ import annotations

import numpy as np
import torch
from matrix_state import batch, different, losses, make_config, running, share, state_of, train

from lrps.config.models import Config
from lrps.engine import deepspeed_engine
from lrps.engine.checkpointing import load_checkpoint, save_checkpoint
from lrps.engine.model import build_model
from lrps.engine.ranks import gather, rank, world_size
from lrps.store.checkpoints import find
from lrps.store.conventions import NEWEST
from lrps.store.layout import PathLayout

ON_HOST = {"device": "cpu"}
QUICK = {"offload both": (3, "bf16", {"offload_optimizer": ON_HOST, "offload_param": ON_HOST})}
"""Name -> ZeRO stage, precision and settings of ZeRO."""
EVERY = {
    **QUICK,
    "offload 1": (1, "bf16", {"offload_optimizer": ON_HOST, "reduce_bucket_size": 5000}),
    "offload 2": (2, "bf16", {"offload_optimizer": {**ON_HOST, "pin_memory": False}, "ignore_unused_parameters": True}),
    "offload weights": (3, "fp32", {"offload_param": {**ON_HOST, "pin_memory": False}}),
    "overlap 1": (1, "bf16", {"overlap_comm": True, "reduce_bucket_size": 20000, "allgather_bucket_size": 5000}),
    "overlap 2": (2, "bf16", {"overlap_comm": True, "reduce_bucket_size": 20000}),
    "all-reduce 1": (1, "fp32", {"reduce_scatter": False, "use_multi_rank_bucket_allreduce": False}),
    "all-reduce 3": (3, "bf16", {"reduce_scatter": False, "overlap_comm": False}),
    "broadcasts": (1, "bf16", {
        "allgather_partitions": False, "parameter_alignment": True, "elastic_checkpoint": True,
        "contiguous_gradients": False,
    }),
    "small pieces": (3, "bf16", {
        "stage3_param_persistence_threshold": 0, "stage3_max_live_parameters": 0, "stage3_max_reuse_distance": 0,
        "stage3_prefetch_bucket_size": 100, "sub_group_size": 20000, "stage3_model_persistence_threshold": 1000,
    }),
    "other gathering": (3, "bf16", {
        "stage3_allgather_sequential": True, "memory_efficient_linear": False, "enable_sanity_checks": True,
        "leaf_module": {"classes": ["LlamaDecoderLayer"]}, "log_trace_cache_warnings": True,
    }),
    "fetch by all-reduce": (3, "bf16", {"stage3_use_all_reduce_for_fetch_params": True}),
    "second copy": (3, "bf16", {"zero_hpz_partition_size": 2}),
}  # fmt: skip
LOGS = {"comms_logger": {"enabled": True, "verbose": False}, "wall_clock_breakdown": True}
BESIDE = {
    "send fp32": (2, {"communication_data_type": "fp32", **LOGS}),
    "predivide": (1, {"gradient_predivide_factor": 2.0, "compile": {"deepcompile": True}}),
    "prescale": (1, {"prescale_gradients": True, "disable_python_gc": True}),
}
"""Name -> ZeRO stage and settings beside those of ZeRO, in bf16."""


def passing(stage, precision, deepspeed):
    values = make_config("llama", stage, precision, micro=1).model_dump(mode="json")
    values["engine"]["deepspeed"] = deepspeed
    return Config.model_validate(values)


def passed_some(out):
    return {name: findings(out, *QUICK[name][:2], {"zero_optimization": QUICK[name][2]}) for name in QUICK}


def passed_all(out):
    profile = {"flops_profiler": {"enabled": True, "profile_step": 1, "output_file": str(out / "flops.txt")}}
    found = {name: findings(out, s, p, {"zero_optimization": zero}) for name, (s, p, zero) in EVERY.items()}
    return found | {
        name: findings(out, stage, "bf16", settings | profile) for name, (stage, settings) in BESIDE.items()
    }


def findings(out, stage, precision, settings):
    """What differs after a save and a resume under the settings, and in a plain engine of another stage."""
    config = passing(stage, precision, settings)
    places = [PathLayout(out / f"passed-{world_size()}-{n}") for n in (1, 2)]
    with running(config) as engine:
        asked = engine._engine.config
        train(engine, range(2))
        saved = state_of(engine, out)
        save_checkpoint(engine, places[0], 2, {"plan": "passed"})
        straight = losses(train(engine, range(2, 4)))
        end = state_of(engine, out)
        devices = sorted({str(tensor.device) for tensor in engine.own_fragments().tensors.values()})
    found = {"devices": devices, "asked": plain_values(asked), "identity": find(places[0], 2).identity.get("deepspeed")}
    with running(config, seed=3) as engine:
        load_checkpoint(engine, find(places[0], 2))
        found["loaded"] = different(saved, state_of(engine, out))
        found["losses"] = [straight, losses(train(engine, range(2, 4)))]
        found["resumed"] = different(end, state_of(engine, out))
    other = make_config("llama", 3 if stage != 3 else 1, precision, micro=1)
    with running(other, seed=3) as engine:
        load_checkpoint(engine, find(places[0], 2))
        found["into another"] = different(saved, state_of(engine, out))
        train(engine, range(2, 3))
        save_checkpoint(engine, places[1], 3, {})
        saved = state_of(engine, out)
    with running(config, seed=4) as engine:
        load_checkpoint(engine, find(places[1], 3))
        found["from another"] = different(saved, state_of(engine, out))
    gather(None)
    return found


def plain_values(settings):
    """The config that DeepSpeed got, without what a JSON file cannot hold."""
    return {key: value for key, value in settings.items() if isinstance(value, dict | bool | int | float | str)}


def gradient_sums(out):
    """Errors of the gradient of a step of many micro-batches, by the way in which it is summed."""
    rows = np.concatenate([batch(step) for step in range(4 * world_size())])
    config = make_config("gpt2", 1, "bf16", micro=1, sequences=len(rows), clip_grad_norm=None)
    exact = exact_gradient(config, rows) if rank() == 0 else {}
    found = {}
    for name, conventions in {"fp32": NEWEST, "bf16": {"padding": "none"}}.items():
        model = build_model(config.model, 0)
        engine = deepspeed_engine.Engine(config, model, conventions=conventions)
        engine.train_step(share(rows), lr=0.0, seed=5, step=0)
        state = state_of(engine, out)
        engine.close()
        if rank() == 0:  # Adam's first moment after the first step is a tenth of the gradient.
            errors = [state[f"exp_avg|{key}"].double() * 10 - value.flatten() for key, value in exact.items()]
            whole = torch.cat([value.flatten() for value in exact.values()])
            norms = [float(torch.linalg.vector_norm(each)) for each in (torch.cat(errors), whole)]
            found[name] = norms[0] / norms[1]
    return found


def exact_gradient(config, rows):
    """Name -> mean of the gradients of single rows of a bf16 model, in fp64."""
    model = build_model(config.model, 0)
    buffers = dict(model.named_buffers())
    kept = {name: value.clone() for name, value in buffers.items()}
    model.bfloat16()
    for name, value in model.named_buffers():
        value.data = kept[name]
    total = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in model.named_parameters()}
    for row in torch.from_numpy(rows).split(1):
        model.zero_grad()
        model(input_ids=row, labels=row).loss.backward()
        for name, parameter in model.named_parameters():
            total[name] += parameter.grad.double() / len(rows)
    return total
