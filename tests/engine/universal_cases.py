"""A plain DeepSpeed engine, such as another script has: it loads what lrps wrote, and lrps reads what it saved."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import deepspeed
import torch
from deepspeed.checkpoint import ds_to_universal
from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state
from matrix_state import ROWS, STEPS, assembled, batch, losses, make_config, running, share, train

from lrps.engine.checkpointing import load_checkpoint
from lrps.engine.model import build_model
from lrps.engine.optimizers.parameter_groups import parameter_groups
from lrps.engine.ranks import ask_rank_zero, world_size
from lrps.engine.universal import write_universal
from lrps.engine.universal_import import import_universal
from lrps.store.checkpoints import Checkpoint, find
from lrps.store.layout import PathLayout

STATES = ("fp32", "exp_avg", "exp_avg_sq")
# (processes, ZeRO stage, precision) that saved it, ZeRO stage that loads it.
CASES = (((1, 0, "fp32"), 1), ((2, 1, "fp32"), 3), ((2, 3, "bf16"), 2))


def universal(out):
    """For each case what a script of its own finds after loading, and how it goes on beside lrps."""
    return {
        f"w{world} s{saved} {precision} -> s{stage}": _elsewhere(out, (world, saved, precision), stage)
        for (world, saved, precision), stage in CASES
    }


def _elsewhere(out, source, stage):
    (world, source_stage, precision), place = source, out / f"universal-{world_size()}-{stage}"
    checkpoint = find(PathLayout(out / f"llama-w{world}-s{source_stage}-{precision}"), STEPS)
    ask_rank_zero(lambda: write_universal(checkpoint.directory, place, STEPS, ROWS * STEPS, {"tokens": 192}), Path)
    config = make_config("llama", stage, precision)
    engine = plain_engine(config, stage, precision)
    try:
        where, client_state = engine.load_checkpoint(str(place), load_lr_scheduler_states=False)
        told = {"loaded": where is not None, "tokens": client_state["tokens"], "global_steps": engine.global_steps}
        told["different"] = different(engine, assembled(checkpoint.directory))
        adam = engine.optimizer.optimizer.state
        told["adam_steps"] = [float(state["step"]) for state in adam.values()]
        told["counters"] = len({state["step"].data_ptr() for state in adam.values()})
        told["weight_decay"] = [group["weight_decay"] for group in engine.optimizer.param_groups]
        for state in adam.values():  # As the help of `lrps convert to-universal` says of ZeRO 3.
            state["step"] = state["step"].clone()
        told["elsewhere"] = [plain_step(engine, step) for step in range(STEPS, STEPS + 4)]
    finally:
        engine.destroy()
    with running(config, seed=3) as own:
        load_checkpoint(own, checkpoint)
        told["here"] = [loss for loss, _ in losses(train(own, range(STEPS, STEPS + 4)))]
    return told


def imported(out):
    """For each stage how a script's own run goes on, and how lrps does from what DeepSpeed made of its checkpoint."""
    return {f"s{stage} {precision}": _from_elsewhere(out, stage, precision)
            for stage, precision in ((1, "fp32"), (2, "bf16"), (3, "fp32"))}  # fmt: skip


def _from_elsewhere(out, stage, precision):
    config, place = make_config("llama", stage, precision), out / f"deepspeed-{world_size()}-{stage}"
    engine = plain_engine(config, stage, precision)
    try:
        for step in range(STEPS):
            plain_step(engine, step)
        engine.save_checkpoint(str(place))
        checkpoint = ask_rank_zero(lambda: _converted(config, place), Checkpoint)
        if stage < 3:  # DeepSpeed 0.19 links the moments of the first group only, unless it is asked again.
            engine.optimizer._hp_optimizer_states_linked = False
            engine.optimizer._lazy_init_hp_params_optimizer_state()
        told = {"different": different(engine, assembled(checkpoint.directory))}
        told["theirs"] = [plain_step(engine, step) for step in range(STEPS, STEPS + 4)]
    finally:
        engine.destroy()
    with running(config, seed=3) as own:
        load_checkpoint(own, checkpoint)
        told["ours"] = [loss for loss, _ in losses(train(own, range(STEPS, STEPS + 4)))]
    return {**told, "step": checkpoint.step, "origin": checkpoint.identity["origin"]}


def _converted(config, place):
    names = {"input_folder": str(place / "global_step3"), "output_folder": str(place / "global_step3_universal")}
    work = {"num_extract_workers": 1, "num_merge_workers": 1, "keep_temp_folder": False}
    ds_to_universal.main(SimpleNamespace(**names, **work, strict=True, inject_missing_state=True))
    return import_universal(config.model, place, place / "ours").checkpoint


def plain_engine(config, stage, precision):
    model = build_model(config.model, 11)
    groups = parameter_groups(model, config.optimizer)
    adam = torch.optim.AdamW(groups, lr=1e-2, betas=config.optimizer.betas, fused=True)
    settings = {
        "train_micro_batch_size_per_gpu": len(share(batch(0))),
        "gradient_clipping": config.optimizer.clip_grad_norm,
        "zero_optimization": {"stage": stage, "reduce_bucket_size": 10**6},
        "checkpoint": {"load_universal": True},
        "bf16": {"enabled": precision == "bf16"},
        "steps_per_print": 10**9,
    }
    engine, *_ = deepspeed.initialize(model=model, optimizer=adam, config=settings, dist_init_required=False)
    return engine


def plain_step(engine, step):
    ids = torch.from_numpy(share(batch(step)))
    loss = engine(input_ids=ids, labels=ids).loss
    engine.backward(loss)
    engine.step()
    mean = loss.detach().double()
    torch.distributed.all_reduce(mean)
    return float(mean) / torch.distributed.get_world_size()


def different(engine, truth):
    """Names of states that are not, to the bit, what lrps saved; DeepSpeed's own functions read the engine."""
    found = []
    for name, parameter in engine.module.named_parameters():
        for state in STATES:
            whole = (
                safe_get_full_fp32_param(parameter)
                if state == "fp32"
                else safe_get_full_optimizer_state(parameter, state)
            )
            if whole is None or not torch.equal(whole.flatten(), truth[f"{state}|{name}"]):
                found.append(f"{state}|{name}")
    return found
