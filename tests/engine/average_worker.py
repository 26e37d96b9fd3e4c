"""Engines with an average of the weights, beside engines without one and beside plain torch in fp64.

Usage: average_worker.py DIRECTORY quick|every|crossed. The `averages` fixtures of conftest.py start it on real ranks.
Every topology trains, saves, is loaded again and trained on; the findings are left in DIRECTORY/<what>-<ranks>.json.
`crossed` loads what `every` has saved, with any number of ranks, into every topology of this number of ranks.
"""

from __future__ import annotations

import json
import sys
from contextlib import closing, contextmanager
from pathlib import Path

import torch
from matrix_state import assembled, batch, different, losses, make_config, plain_loss, share, state_of, train

from lrps.engine.averages.moving_average import MovingAverage
from lrps.engine.checkpointing import Saver, load_checkpoint, save_checkpoint
from lrps.engine.deepspeed_engine import Engine, process_group
from lrps.engine.model import build_model
from lrps.engine.ranks import gather, rank, world_size
from lrps.store.checkpoints import find
from lrps.store.conventions import NEWEST
from lrps.store.layout import PathLayout

EVERY = [(0, "fp32"), (1, "fp32"), (2, "fp32"), (3, "fp32"), (1, "bf16"), (2, "bf16"), (3, "bf16")]
QUICK = [(0, "fp32"), (1, "bf16"), (3, "fp32")]
RULE = MovingAverage(horizon=0.045, every=2)
SAVED, END = 8, 12


@contextmanager
def averaging(topology, rule=RULE, seed=0):
    config = make_config("llama", *topology)
    engine = Engine(config, build_model(config.model, seed), average=rule, conventions=NEWEST)
    try:
        yield engine
    finally:
        engine.close()


def named(topology):
    return f"s{topology[0]} {topology[1]}"


def only(state, *kinds):
    return {key: value for key, value in state.items() if key.split("|")[0] in kinds}


def in_fp64(states):
    """The average by its formula, in fp64, from the weights after steps 0, 2, 4 and so on."""
    first, *later = ({key: value.double() for key, value in only(state, "fp32").items()} for state in states)
    average = first
    for number, weights in enumerate(later, 1):
        step = RULE.every * number
        beta = (1 - 1 / max(10, 0.045 * step)) ** RULE.every
        average = {key: beta * value + (1 - beta) * weights[key] for key, value in average.items()}
    return average


def trained(topology, out):
    """(the state after SAVED steps, that after END steps, findings) of an engine that averages."""
    found, weights = {}, []
    with averaging(topology) as engine:
        for step in range(0, SAVED, RULE.every):
            weights.append(state_of(engine, out))
            train(engine, range(step, step + RULE.every))
        saved = state_of(engine, out)
        place = PathLayout(out / f"w{world_size()}-{named(topology)}")
        save_checkpoint(engine, place, SAVED, {})
        with closing(Saver(engine, PathLayout(out / f"later-w{world_size()}-{named(topology)}"))) as saver:
            saver.begin(SAVED, {})
            found["evaluated"] = evaluated(engine, topology, saved)
            found["an error"] = after_an_error(engine, out, saved)
            found["straight"] = losses(train(engine, range(SAVED, END)))
            copy = saver.finish()
        found["asynchronous"] = copy.manifest["files"] == find(place, SAVED).manifest["files"]
        end = state_of(engine, out)
    if rank() == 0:
        plain = in_fp64([*weights, saved])
        found["off"] = max(
            float((saved[key.replace("fp32", "ema")] - value).abs().max()) for key, value in plain.items()
        )
        found["moved"] = max(float((saved[key] - value).abs().max()) for key, value in plain.items())
    return saved, end, found


def evaluated(engine, topology, state):
    """Loss of weights, average and weights on some rows, each with that of a plain model; errors while exchanged."""
    rows = batch(100)

    def loss():
        return engine.sum_over_ranks([engine.evaluate(share(rows)).total])[0]

    told = []
    before = loss()
    with engine.average.evaluated():
        between = loss()
        try:
            engine.own_fragments()
        except RuntimeError as error:
            told.append(str(error))
    after = loss()
    if rank() != 0:
        return None
    averaged = {f"fp32|{key.split('|')[1]}": value for key, value in only(state, "ema").items()}
    plain = [plain_loss("llama", each, topology[1], rows) for each in (state, averaged)]
    return {"losses": [before, between, after], "plain": plain, "told": told}


def after_an_error(engine, out, state):
    try:
        with engine.average.evaluated():
            raise ZeroDivisionError
    except ZeroDivisionError:
        return different(state, state_of(engine, out))


def topology_alone(topology, out):
    saved, end, found = trained(topology, out)
    place = PathLayout(out / f"w{world_size()}-{named(topology)}")
    with averaging(topology, rule=None) as engine:
        without = losses(train(engine, range(END)))
        found["training"] = without[SAVED:] == found["straight"]
        found["trained"] = different(state_of(engine, out), only(end, "fp32", "exp_avg", "exp_avg_sq"))
        load_checkpoint(engine, find(place, SAVED))
        found["ignored"] = different(state_of(engine, out), only(saved, "fp32", "exp_avg", "exp_avg_sq"))
        none = PathLayout(out / f"none-w{world_size()}-{named(topology)}")
        save_checkpoint(engine, none, SAVED, {})
    with averaging(topology, seed=5) as engine:
        load_checkpoint(engine, find(place, SAVED))
        found["loaded"] = different(state_of(engine, out), saved)
        found["resumed"] = losses(train(engine, range(SAVED, END))) == found["straight"]
        found["end"] = different(state_of(engine, out), end)
        load_checkpoint(engine, find(place, SAVED), "reset")
        reset = state_of(engine, out)
        load_checkpoint(engine, find(none, SAVED))
        begun = state_of(engine, out)
        found["crossed"] = all_loaded(engine, out)
    if rank() == 0:
        found["reset"] = different(only(reset, "fp32", "ema"), only(saved, "fp32", "ema"))
        found["moments"] = [key for key, value in only(reset, "exp_avg", "exp_avg_sq").items() if value.any()]
        weights = {key.replace("fp32", "ema"): value for key, value in only(begun, "fp32").items()}
        found["begun"] = different(weights, only(begun, "ema"))
    return found


def all_loaded(engine, out):
    """What differs after every saved state, of any topology and number of ranks, was loaded into the engine."""
    found = {}
    for place in sorted(out.glob("w[12]-*")):
        checkpoint = find(PathLayout(place), SAVED)
        load_checkpoint(engine, checkpoint)
        now = state_of(engine, out)
        if rank() == 0:
            found[place.name] = different(now, assembled(checkpoint.directory))
    return found


def crossed(out):
    found = {}
    for topology in EVERY:
        with averaging(topology, seed=9) as engine:
            found[named(topology)] = all_loaded(engine, out)
    return found


def main(out, what):
    torch.set_num_threads(1)
    with process_group():
        if what == "crossed":
            found = crossed(out)
        else:
            found = {named(each): topology_alone(each, out) for each in (QUICK if what == "quick" else EVERY)}
        gather(None)
        if rank() == 0:
            (out / f"{what}-{world_size()}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
