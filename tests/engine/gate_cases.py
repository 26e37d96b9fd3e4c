"""Steps that pass without an update, beside runs that never take them: cases of matrix_worker.py."""

from __future__ import annotations

import hashlib
from math import isfinite, nan

import torch
from matrix_state import ROWS, batch, make_config, running, share

from lrps.engine.ranks import gather, rank, world_size

STEPS, PASSED = range(5), {0, 3, 4}
"""The first step, before Adam has a state, and two in a row up to the last one."""
CLIP = 0.05
"""A gradient norm below those of all steps."""
QUICK = [(1, "fp32", 1), (3, "bf16", None)]
POISONED = ("loss first", "loss last", "gradients first", "gradients last")
"""What is NaN in which micro-batch: the first of rank 0, or the last of the last rank."""
EVERY = [
    (stage, precision, micro)
    for stage, precision in ((0, "fp32"), (1, "fp32"), (2, "fp32"), (3, "fp32"), (1, "bf16"), (2, "bf16"), (3, "bf16"))
    for micro in (None, 1)
]


class NanGradient(torch.autograd.Function):
    """A value whose gradient is NaN."""

    @staticmethod
    def forward(context, value):
        return value.clone()

    @staticmethod
    def backward(context, gradient):
        return gradient * nan


def digest(engine):
    """SHA-256 over all that this rank would save."""
    own = engine.own_fragments()
    hashed = hashlib.sha256(str(own.steps["adam_step"]).encode())
    for key in sorted(own.tensors):
        hashed.update(str(key).encode() + own.tensors[key].cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return hashed.hexdigest()


class Poison:
    """A hook that makes the loss of one micro-batch of the passed steps NaN, or its gradients only."""

    def __init__(self, micro_batches, micro, where):
        self.micro_batches, self.micro, self.where, self.calls = micro_batches, micro % micro_batches, where, 0

    def __call__(self, module, inputs, output):
        step, micro = divmod(self.calls, self.micro_batches)
        self.calls += 1
        if step in PASSED and micro == self.micro:
            output.loss = output.loss * nan if self.where == "loss" else NanGradient.apply(output.loss)
        return output


def run(config, judge=None, left_out=(), poison=None, clip=0.0):
    """Digest of the state after the steps, Adam's count, and what the engine and the judge said, on all ranks."""
    asked, going_on = [], []

    def asking(step):
        def judged(loss, norm):
            asked.append([step, str(loss), str(norm)])
            return judge(step, loss, norm)

        return None if judge is None else judged

    with running(config) as engine:
        if poison is not None:
            engine._engine.module.register_forward_hook(poison)
        for step in STEPS:
            if step not in left_out:
                more = {"lr": 1e-2, "seed": 5, "step": step, "judge": asking(step), "clip": clip}
                going_on.append(engine.train_step(share(batch(step)), **more))
        sync = engine.sync_metrics()
        results = [[str(result.loss), str(result.grad_norm)] for result in sync.steps]
        return {
            "state": gather([digest(engine), engine.own_fragments().steps["adam_step"]]),
            "asked": gather(asked), "going_on": gather(going_on), "results": gather(results),
            "failure": str(sync.failure),
        }  # fmt: skip


def quick(out):
    """Two topologies on two ranks: steps that are judged, that are not finite, and that are never taken."""
    if world_size() == 1:
        return {}
    return {name(*topology): _runs(*topology, poisoned=["gradients last"]) for topology in QUICK}


def sweep(out):
    """The same of every topology, with NaNs in several places, beside runs that let nothing pass."""
    found = {}
    for topology in EVERY:
        found[name(*topology)] = _runs(*topology, poisoned=POISONED)
        config = make_config("llama", *topology)
        found[name(*topology)] |= {"unjudged": run(config), "none": run(config, lambda *_: False)}
    return found


def name(stage, precision, micro):
    return f"s{stage} {precision} micro {micro}"


def _runs(stage, precision, micro, poisoned):
    config = make_config("llama", stage, precision, micro)
    batches = 1 if micro is None else ROWS // world_size() // micro
    made = make_config("llama", stage, precision, micro, clip_grad_norm=CLIP)
    clipped = {"clipped": run(config, clip=CLIP), "made to clip": run(made), "not clipped": run(config)}
    runs = clipped | {"never": run(config, left_out=PASSED), "judged": run(config, lambda step, *_: step in PASSED)}
    for how in poisoned:
        where, position = how.split()
        of_rank, of_micro = (0, 0) if position == "first" else (world_size() - 1, -1)
        poison = Poison(batches, of_micro, where) if rank() == of_rank else None
        runs[how] = run(config, lambda _, loss, norm: not (isfinite(loss) and isfinite(norm)), poison=poison)
    return runs
