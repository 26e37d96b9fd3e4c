"""Real DeepSpeed on real gloo ranks: many cases in one process group, because starting one takes many seconds.

The `matrix` fixture of conftest.py starts it with one process and with two, at the same time: each trains and saves,
then loads what both saved. Every case leaves its findings in <out>/world-<n>.json; the tests judge them. The `elastic`
fixture then starts it with four, which load what one rank has handed on from two.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path
from unittest.mock import patch

import gate_cases
import masked_cases
import passed_cases
import sequence_cases
import torch
from gate_cases import NanGradient
from matrix_state import (
    LENGTH,
    ROWS,
    STEPS,
    bare_steps,
    batch,
    different,
    digest,
    losses,
    make_config,
    placed,
    plain_loss,
    running,
    share,
    state_of,
    take_step,
    train,
    train_with_one_sync,
)
from packed_cases import DEPENDING, END, loss_alone, packed_rows, with_reference_flash
from universal_cases import imported, universal

from lrps.base.errors import CheckpointError, ConfigError, DamagedCheckpointError, NonFiniteLoss
from lrps.engine import deepspeed_engine, flat_pieces
from lrps.engine.checkpointing import Saver, load_checkpoint, save_checkpoint
from lrps.engine.deepspeed_engine import process_group
from lrps.engine.losses import loss_head
from lrps.engine.optimizers.kinds import optimizer_of
from lrps.engine.ranks import ask_rank_zero, gather, rank, world_size
from lrps.plan.origin import Origin
from lrps.store.checkpoints import find
from lrps.store.layout import PathLayout
from lrps.store.newest import newest_complete
from lrps.train.attempt_start import AttemptStart
from lrps.train.path_start import PathStart
from support.assembled_state import assembled
from support.first_fragments import in_first_format

TOPOLOGIES = {
    "llama": [(0, "fp32"), (1, "fp32"), (2, "fp32"), (3, "fp32"), (1, "bf16"), (2, "bf16"), (3, "bf16")],
    "gpt2": [(0, "fp32"), (1, "bf16"), (3, "fp32")],
}


def layout(out, world, kind, stage, precision):
    return PathLayout(out / f"{kind}-w{world}-s{stage}-{precision}")


def save_all(out):
    """Digests of what every topology begins with: all fp32 weights, and the buffers of each rank."""
    found = {}
    for kind, topologies in TOPOLOGIES.items():
        for stage, precision in topologies:
            with running(make_config(kind, stage, precision)) as engine:
                weights = {key: values for key, values in state_of(engine, out).items() if key.startswith("fp32|")}
                buffers = gather(digest(dict(engine._engine.module.named_buffers())))
                found[f"{kind} s{stage} {precision}"] = {"weights": digest(weights), "buffers": buffers}
                train(engine, range(STEPS))
                place = layout(out, world_size(), kind, stage, precision)
                save_checkpoint(engine, place, STEPS, {"plan": "matrix"}, 1 if stage == 2 else "host")
    return found


def load_some(out):
    """Load into every topology what the next one in the list saved, and what the one after it saved, from either world.

    Each is saved once and loaded twice, so that every stage and precision is read and written.
    """

    def next_ones(topologies, target):
        return [(1 + at % 2, topologies[at % len(topologies)]) for at in (target + 1, target + 2)]

    return load(out, next_ones)


def load_all(out):
    """Load every saved topology of both worlds into every other one."""
    return load(out, lambda topologies, target: [(world, source) for world in (1, 2) for source in topologies])


def load(out, sources_of):
    """What differs after loading each source of each target, and how far the loss is off."""
    found = {}
    rows = batch(100)
    expected = {}
    for kind, topologies in TOPOLOGIES.items():
        for position, target in enumerate(topologies):
            with running(make_config(kind, *target), seed=7, loaded=True) as engine:
                for world, source in sources_of(topologies, position):
                    checkpoint = find(layout(out, world, kind, *source), STEPS)
                    load_checkpoint(engine, checkpoint)
                    loss = engine.evaluate(rows).total
                    now = state_of(engine, out)
                    if rank() == 0:
                        truth = assembled(checkpoint.directory)
                        case = (kind, world, source, target[1])
                        expected.setdefault(case, plain_loss(kind, truth, target[1], rows))
                        name = f"{kind} w{world} s{source[0]} {source[1]} -> s{target[0]} {target[1]}"
                        found[name] = [different(truth, now), abs(loss / expected[case] - 1)]
    return found


def continuation(out):
    found, later = {}, range(STEPS, 2 * STEPS)
    for stage, precision in ((0, "fp32"), (1, "fp32"), (3, "fp32"), (2, "bf16")):
        config = make_config("llama", stage, precision, micro=1)
        place = PathLayout(out / f"continued-{world_size()}-{stage}-{precision}")
        with running(config) as engine:
            train(engine, range(STEPS))
            save_checkpoint(engine, place, STEPS, {})
            straight = losses(train(engine, later))
            end = save_checkpoint(engine, place, later.stop, {})
        with running(config, seed=3, loaded=True) as engine:
            load_checkpoint(engine, find(place, STEPS))
            resumed = losses(train_with_one_sync(engine, later))
            again = save_checkpoint(engine, PathLayout(place.directory / "resumed"), later.stop, {})
            ask_rank_zero(lambda place=place: in_first_format(find(place, STEPS)).manifest)
            load_checkpoint(engine, find(place, STEPS))
            first = losses(train_with_one_sync(engine, later))
            from_first = save_checkpoint(engine, PathLayout(place.directory / "from-first"), later.stop, {})
            found[f"s{stage} {precision}"] = {
                "straight": straight, "resumed": resumed, "resumed from the first format": first,
                "different": [each.manifest["files"] != end.manifest["files"] for each in (again, from_first)],
                "formats": [each.manifest["format"] for each in (find(place, STEPS), from_first)],
            }  # fmt: skip
    return found


def plain_step(model, ids):
    return model(input_ids=ids, labels=ids).loss


@contextmanager
def few_logits():
    """Three to five tokens' logits at a time, so that even these rows have several chunks; the last one is smaller."""
    with patch.object(loss_head, "CHUNK_ELEMENTS", 500 if world_size() == 1 else 300):
        yield


def reference(out):
    """Steps of a bare AdamW loop on the whole batch, beside the engine on its shares and micro-batches."""
    found = {}
    cases = (
        ("gpt2", 0, "fp32", 1), ("llama", 1, "fp32", 1), ("llama", 2, "fp32", None), ("gpt2", 3, "fp32", 1),
        ("llama", 1, "bf16", 1), ("llama", 2, "bf16", 1), ("gpt2", 3, "bf16", 1),
    )  # fmt: skip
    for kind, stage, precision, micro in cases:
        config = make_config(kind, stage, precision, micro, clip_grad_norm=0.5)
        model, bare = bare_steps(config, lambda model, step: plain_step(model, torch.from_numpy(batch(step))))
        with running(config) as engine, few_logits():
            ours = losses(train(engine, range(STEPS)))
            now = state_of(engine, out)
        apart = [float((now[f"fp32|{n}"] - p.detach().flatten()).abs().max()) for n, p in model.named_parameters()
                 ] if now else [0.0]  # fmt: skip
        found[f"{kind} s{stage} {precision} micro {micro}"] = {"bare": bare, "ours": ours, "weights_apart": max(apart)}
    return found


def documents(out):
    """Steps and evaluations of packed rows, beside a bare loop that gives the model one document at a time."""
    found = {}
    for kind, stage, checkpointing, flash in (
        ("llama", 1, False, False), ("gpt2", 3, True, False), ("qwen3", 3, True, True), ("mistral", 0, False, True),
    ):  # fmt: skip
        config = make_config(f"packed {kind}", stage, micro=1, checkpointing=checkpointing, clip_grad_norm=0.5)
        model, bare = bare_steps(config, lambda model, step: loss_alone(model, packed(step)))
        with torch.no_grad():
            expected = float(loss_alone(model, packed(100)))
        prepare = with_reference_flash if flash else lambda model: model
        with running(config, document_end=END, prepare=prepare) as engine, few_logits():
            ours = losses(train(engine, range(STEPS), batch=lambda step: packed(step).numpy()))
            mine = engine.evaluate(share(packed(100).numpy()))
            loss, tokens = engine.sum_over_ranks([mine.total, float(mine.tokens)])
        with torch.no_grad():
            across = float(plain_step(placed(config, 0), packed(0)))
        found[f"{kind} s{stage}{' flash' if flash else ''}"] = {
            "bare": bare, "ours": ours, "across": across, "evaluation": [expected, loss / tokens, tokens],
        }  # fmt: skip
    return found


def packed(step):
    return packed_rows(step, ROWS, LENGTH)


def passed(out):
    """Names of what the model is called with, in a step and in an evaluation."""
    found = {}
    for document_end in (None, END):
        with running(make_config("packed llama"), document_end=document_end) as engine:
            calls = []
            engine._engine.module.register_forward_pre_hook(
                lambda module, args, kwargs, calls=calls: calls.append([len(args), *sorted(kwargs)]), with_kwargs=True
            )
            train(engine, [0])
            engine.evaluate(share(batch(0))[:1])
            found[str(document_end)] = calls
    return found


def non_finite(out):
    """The last rank meets a NaN, in the loss or in the gradients only; the second one in the engine of the first."""
    found = {}
    for stage, precision in ((0, "fp32"), (1, "fp32"), (2, "bf16"), (3, "fp32")):
        with running(make_config("llama", stage, precision)) as engine:
            train(engine, range(2))
            before = state_of(engine, out)
            for where in ("loss", "gradients"):

                def poison(module, inputs, output, where=where):
                    bad = output.loss * float("nan") if where == "loss" else NanGradient.apply(output.loss)
                    output.loss = bad
                    return output

                hook = None
                if rank() == world_size() - 1:
                    hook = engine._engine.module.register_forward_hook(poison)
                raised = expect(NonFiniteLoss, lambda: train(engine, [2]))
                found[f"s{stage} {precision} {where}"] = {
                    "raised": raised, "changed": different(before, state_of(engine, out)),
                }  # fmt: skip
                if hook is not None:
                    hook.remove()
    return found


def handed_on(out):
    """One rank of ZeRO 3 saves what it loaded from two ranks of ZeRO 1."""
    if world_size() == 1:
        with running(make_config("llama", 3), seed=7) as engine:
            load_checkpoint(engine, find(layout(out, 2, "llama", 1, "fp32"), STEPS))
            save_checkpoint(engine, PathLayout(out / "handed-on"), STEPS, {})


def elastic(out):
    """From there to four ranks of ZeRO 3, and on through the other stages: what differs from the first state, a step.

    Three ranks share a file, and the fourth has one of its own.
    """
    truth, found = assembled(find(layout(out, 2, "llama", 1, "fp32"), STEPS).directory), {}
    source = find(PathLayout(out / "handed-on"), STEPS)
    for stage in (3, 1, 0, 2):
        with running(make_config("llama", stage), seed=7) as engine:
            load_checkpoint(engine, source)
            now = state_of(engine, out)
            source = save_checkpoint(engine, PathLayout(out / f"elastic-{stage}"), STEPS, {}, 3)
            found[f"s{stage}"] = {
                "different": different(truth, now) if now else [],
                "adam_step": optimizer_of(engine._engine).step,
                "files": sorted(source.manifest["files"]),
                "step": losses(train(engine, [STEPS])),
            }
    return found


def groups(out):
    """What the optimizer holds after loading a checkpoint that was trained with other settings, and lr after a step."""
    found = {}
    for stage in (0, 1, 2, 3):
        config = make_config("gpt2", stage, weight_decay=0.25, betas=(0.8, 0.9), eps=1e-6)
        with running(config) as engine:
            waits = []
            engine.hold_update(lambda waits=waits: waits.append("load"))
            load_checkpoint(engine, find(layout(out, world_size(), "gpt2", 1, "bf16"), STEPS))
            engine.hold_update(lambda waits=waits: waits.append("update"))
            held = [(g["weight_decay"], *g["betas"], g["eps"]) for g in engine._engine.optimizer.param_groups]
            clip = engine._engine.gradient_clipping()
            train(engine, [STEPS, STEPS + 1])
            rates = [group["lr"] for group in engine._engine.optimizer.param_groups]
            found[f"s{stage}"] = {"held": held, "clip": clip, "lr": rates, "waits": waits}
    return found


def reset(out):
    found = {}
    for stage in (0, 1, 2, 3):
        with running(make_config("llama", stage), seed=2) as engine:
            train(engine, range(2))  # So that there are moments to forget.
            checkpoint = find(layout(out, world_size(), "llama", 1, "fp32"), STEPS)
            load_checkpoint(engine, checkpoint, optimizer="reset")
            now = state_of(engine, out)
            adam_step = optimizer_of(engine._engine).step
            moments = [key for key, value in now.items() if not key.startswith("fp32") and value.any()]
            truth = assembled(checkpoint.directory)
            weights = [key for key in now if key.startswith("fp32") and not torch.equal(now[key], truth[key])]
            train(engine, [STEPS])
            # After one step from zero, v = (1 - beta2) g^2 and m = (1 - beta1) g: no trace of the past.
            first = state_of(engine, out)
            traces = [
                float((value.square() * 0.05 - first["exp_avg_sq|" + key[8:]] * 0.01).abs().max())
                for key, value in first.items() if key.startswith("exp_avg|")
            ]  # fmt: skip
            found[f"s{stage}"] = {
                "moments": moments, "weights": weights, "trace": max(traces, default=0.0), "adam_step": adam_step,
            }  # fmt: skip
    return found


def expect(error, action):
    try:
        action()
    except error as caught:
        return gather(str(caught))
    return gather("nothing")


@contextmanager
def full_disk(of_rank):
    """Files of one rank can grow to 8 kB and no further."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    if rank() == of_rank:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def asynchronous(out):
    """Saves that are written after training went on, beside synchronous ones of the same states."""
    found = {}
    for stage, precision in ((0, "fp32"), (1, "fp32"), (2, "bf16"), (3, "fp32")):
        one, other = (PathLayout(out / f"{how}-{world_size()}-{stage}") for how in ("awaited", "in-flight"))
        told = {"written": [], "published": [], "manifests": []}
        with running(make_config("llama", stage, precision)) as engine, closing(Saver(engine, other)) as saver:
            saver.prepare()
            for step in (2, 4):  # The second one uses the buffers of the first again.
                train(engine, range(step - 2, step))
                gate = threading.Event()
                saver.queue(gate.wait)
                saver.begin(step, {"tokens": step})
                save_checkpoint(engine, one, step, {"tokens": step})
                train(engine, [step])
                told["written"].append(saver.written)
                gate.set()
                told["published"].append(saver.finish().step)
                told["manifests"].append([find(place, step).manifest for place in (one, other)])
            with full_disk(world_size() - 1):
                saver.begin(6, {})
                told["error"] = expect(CheckpointError, saver.finish)
            told["left"] = sorted(path.name for path in other.checkpoints.iterdir())
            saver.begin(8, {})
        gather(None)
        told["closed"] = sorted(path.name for path in other.checkpoints.iterdir())
        found[f"s{stage} {precision}"] = told
    return found


def written(out):
    """Flags of a sync between ranks that write their files at different times."""
    with running(make_config("llama", 1)) as engine:
        return [take_step(engine, 0, lr=0.0, written=flag)[1].written
                for flag in (False, rank() == world_size() - 1, True)]  # fmt: skip


def refusals(out):
    """Errors on one rank reach all; nothing is half done."""
    last = world_size() - 1
    found = {}
    with running(make_config("llama", 3)) as engine:
        place = PathLayout(out / f"refused-{world_size()}")
        good = save_checkpoint(engine, place, 1, {"tokens": 64})
        found["identity"] = good.identity
        found["state_json"] = json.loads((good.directory / "state.json").read_text())
        before = state_of(engine, out)
        with full_disk(last):
            found["save"] = expect(CheckpointError, lambda: save_checkpoint(engine, place, 2, {}))
        found["left"] = sorted(path.name for path in place.checkpoints.iterdir())
        found["other model"] = expect(
            CheckpointError,
            lambda: load_checkpoint(engine, find(layout(out, world_size(), "gpt2", 3, "fp32"), STEPS)),
        )
        flip(good, last)
        found["flipped"] = expect(DamagedCheckpointError, lambda: load_checkpoint(engine, good))
        flip(good, last)
        load_checkpoint(engine, good)
        found["changed"] = different(before, state_of(engine, out))
        found["fallback"] = fallback(engine, place, last, before, out)
    for kind in DEPENDING:
        found[kind] = expect(ConfigError, lambda kind=kind: within_documents(kind))
    found["misnamed"] = {f"s{stage} {precision}": misnamed(out, stage, precision)
                         for stage, precision in ((1, "bf16"), (2, "fp32"))}  # fmt: skip
    found["one rank's logits"] = one_ranks_logits(last)
    found["indivisible"] = expect(ConfigError, lambda: running(make_config(sequences=5, micro=2)).__enter__())
    return found


def flip(checkpoint, of_rank):
    """Flip the last bit of what a rank has written."""
    (segment,) = (each for each in checkpoint.segments if each.rank == of_rank)
    path = checkpoint.directory / segment.file
    gather(None)
    if rank() == of_rank:
        content = bytearray(path.read_bytes())
        content[segment.offset + segment.bytes - 1] ^= 1
        path.write_bytes(content)
    gather(None)


def fallback(engine, place, last, older, out):
    """What an attempt resumes from if the file of one rank in the newest state is damaged, and then in all states."""

    def propose(damaged):
        newest, skipped = newest_complete(place.checkpoints, damaged=damaged)
        if newest is None:
            raise CheckpointError("no state is left")
        return PathStart(Origin("resume", newest.step, newest, skipped=skipped), 1, {}, ())

    def load():
        attempt = AttemptStart(propose)
        return attempt.load(engine, attempt.find(), lambda checkpoint, origin: None)

    train(engine, range(1, 3))
    flip(save_checkpoint(engine, place, 3, {}), last)
    start = load()
    found = {"steps": gather(start.origin.step), "skipped": gather(*map(str, start.origin.skipped)),
             "different": different(older, state_of(engine, out))}  # fmt: skip
    flip(find(place, 1), last)
    return found | {"none": expect(CheckpointError, load)}


def misnamed(out, stage, precision):
    """Errors of an engine whose flat buffers DeepSpeed reorders: at its start, and after a load where it starts."""
    initialize = deepspeed_engine.deepspeed.initialize

    def reordered(**arguments):
        arguments["config"]["zero_optimization"]["round_robin_gradients"] = True
        return initialize(**arguments)

    config = make_config("llama", stage, precision)
    with patch.object(deepspeed_engine.deepspeed, "initialize", reordered):
        at_start = expect(ConfigError, lambda: started(config))
        with patch.object(flat_pieces, "check_piece_names", lambda engine: None), running(config) as engine:
            source = find(layout(out, world_size(), "llama", stage, precision), STEPS)
            return at_start, expect(ConfigError, lambda: load_checkpoint(engine, source))


def within_documents(kind):
    """Make an engine whose attention stays within documents, and close it."""
    started(make_config(kind, 3), document_end=END)


def started(config, **arguments):
    """Make an engine, and close it."""
    with running(config, **arguments):
        pass


def one_ranks_logits(one):
    """What it is for all ranks that the model of one of them cannot give its loss only: by default, and when asked."""

    def found_out(model, loss):
        return "is short of memory" if rank() == one else loss_head.enable_fused_loss(model, loss)

    config = make_config("gpt2", 1)
    asked = config.model_copy(update={"engine": config.engine.model_copy(update={"cross_entropy": "chunked"})})
    with patch.object(deepspeed_engine, "enable_fused_loss", found_out):
        with running(config) as engine:
            heads = gather(type(engine._engine.module.lm_head).__name__)
            step = losses(train(engine, [0]))
        told = expect(ConfigError, running(asked).__enter__)
    with running(config) as engine:
        return {"heads": heads, "told": told, "steps": [step, losses(train(engine, [0]))]}


def evaluation(out):
    found = {}
    rows = batch(200)[:3]
    initial = {f"fp32|{n}": p.detach() for n, p in placed(make_config("gpt2"), 0).named_parameters()}
    expected = plain_loss("gpt2", initial, "fp32", rows)
    of_rows = [plain_loss("gpt2", initial, "fp32", row[None]) / 15 for row in rows]
    for stage in (0, 1, 3):
        with running(make_config("gpt2", stage)) as engine:
            before = torch.get_rng_state()
            mine = rows if rank() == 0 else rows[:0]  # Two passes on rank 0, none on rank 1.
            losses = engine.evaluate(mine)
            loss, tokens = losses.total, losses.tokens
            found[f"s{stage}"] = {
                "sum": engine.sum_over_ranks([loss, float(tokens)]), "per_rank": gather([loss, tokens]),
                "training": engine._engine.module.training, "rng_kept": torch.equal(before, torch.get_rng_state()),
                "expected": expected, "means": gather(losses.means), "of_rows": of_rows,
            }  # fmt: skip
            for flag in ("stop", "save_due"):
                told = [getattr(take_step(engine, 1, lr=0.0, **{flag: raised})[1], flag)
                        for raised in (False, rank() == world_size() - 1)]  # fmt: skip
                found[f"s{stage}"][flag] = gather(told)
    return found


def dropout(out):
    """Losses with dropout at equal weights: the same (seed, step) repeats, another does not."""
    with running(make_config("dropout", 0)) as engine:
        rows = share(batch(0))
        positions = ((1, 1), (1, 1), (1, 2), (2, 1))
        return [take_step(engine, step, rows, lr=0.0, seed=seed)[0].loss for seed, step in positions]


def leaks(out):
    """Bytes of live tensors that an engine leaves behind after close()."""
    found = {}
    for stage, precision in ((0, "fp32"), (1, "fp32"), (2, "bf16"), (3, "fp32")):
        before = live_tensor_bytes()
        with running(make_config("llama", stage, precision)) as engine:
            train(engine, range(2))
            engine.evaluate(share(batch(0)))
            during = live_tensor_bytes()
        del engine
        found[f"s{stage} {precision}"] = [during - before, live_tensor_bytes() - before]
    return found


def live_tensor_bytes():
    gc.collect()
    return sum(o.numel() * o.element_size() for o in gc.get_objects() if issubclass(type(o), torch.Tensor))


def wait_for(paths):
    while not all(path.exists() for path in paths):
        time.sleep(0.1)


CASES_BEFORE = (
    *(save_all, continuation, reference, documents, passed, non_finite, gate_cases.quick, evaluation, dropout, leaks),
    *(asynchronous, written, imported, passed_cases.passed_some, passed_cases.gradient_sums),
    *(sequence_cases.shared_rows, sequence_cases.trial_step, masked_cases.masked_rows),
)
CASES_AFTER = (load_some, handed_on, groups, reset, refusals, universal)
SETS = {
    "passed": (passed_cases.passed_all,),
    "every load": (save_all, None, load_all),
    "elastic": (elastic,),
    "gate": (gate_cases.sweep,),
    "shared rows": (sequence_cases.all_shared_rows, sequence_cases.across_sizes),
}
"""Cases of one launch by the word that asks for it; without a word all those above."""


def main(out, cases):
    findings, seconds = {}, {}
    with process_group():
        torch.set_num_threads(1)
        gc.freeze()  # What was imported need not be looked through at every close().
        world, first = world_size(), rank() == 0
        for case in cases:
            if case is None:
                gather(None)
                (out / f"saved-{world}").touch()
                wait_for([out / "saved-1", out / "saved-2"])
                continue
            started = time.monotonic()
            findings[case.__name__] = case(out)
            seconds[case.__name__] = time.monotonic() - started
    if first:
        (out / f"world-{world}.json").write_text(json.dumps({**findings, "seconds": seconds}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), SETS[sys.argv[2]] if sys.argv[2:] else (*CASES_BEFORE, None, *CASES_AFTER))
    # Everything was checked and written: torch's threads may abort while the interpreter takes itself down.
    os._exit(0)
