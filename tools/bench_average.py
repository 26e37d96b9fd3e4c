"""What the average of the weights costs, beside a step of the same engine.

A real engine trains a llama on one short row a step. After each step, in turns: an update of the average, an exchange
of weights and average with its evaluation, the evaluation of the weights, and copies of the state for a save with and
without the average. Figures are processor seconds, and ratios of medians to the step: seconds depend on the machine.
Several ranks: start it with `deepspeed`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from statistics import median

import numpy as np
from rich.console import Console
from rich.table import Table

from lrps.config.models import Config
from lrps.engine.averages.moving_average import MovingAverage
from lrps.engine.checkpointing import Snapshot
from lrps.engine.deepspeed_engine import Engine, process_group
from lrps.engine.fragments import Fragments
from lrps.engine.model import build_model
from lrps.engine.ranks import rank, world_size
from lrps.paths.optimizer_states import AVERAGE
from lrps.store.conventions import NEWEST

EXAMPLE = "example: python tools/bench_average.py --layers 10 --repeats 8"
VOCABULARY = 4096
STEP, UPDATE = "step", "update"
EVALUATE, AVERAGED = "evaluate weights", "exchange, evaluate average, exchange"
COPY, COPIED = "copy for a save, without", "copy for a save, with"


def make_config(arguments: argparse.Namespace) -> Config:
    architecture = {
        "model_type": "llama",
        "vocab_size": VOCABULARY,
        "hidden_size": 256,
        "intermediate_size": 768,
        "num_hidden_layers": arguments.layers,
        "num_attention_heads": 8,
        "max_position_embeddings": arguments.length,
    }
    return Config.model_validate(
        {
            "name": "bench",
            "model": {"architecture": architecture},
            "data": {"root": "none", "sequence_length": arguments.length, "versions": [{"name": "v1"}]},
            "batch": {"sequences": world_size()},
            "launch": {"launcher": "deepspeed", "hostfile": "none"},
            "schedule": {"peak_lr": 1e-3},
            "engine": {"zero_stage": arguments.stage, "precision": arguments.precision},
            "paradigms": {"path-switching": {}},
        }
    )


def without_average(live: Fragments) -> Fragments:
    return replace(live, tensors={key: each for key, each in live.tensors.items() if key.state != AVERAGE.name})


def measure(engine: Engine, arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Processor seconds of every kind of work, in turns."""
    whole, less = Snapshot(engine.own_fragments()), Snapshot(without_average(engine.own_fragments()))
    rows = np.random.default_rng(rank()).integers(0, VOCABULARY, (1, arguments.length))

    def evaluate_average() -> None:
        with engine.average.evaluated():
            engine.evaluate(rows)
        engine.average.refresh()

    kinds: dict[str, Callable[[int], object]] = {
        STEP: lambda step: engine.train_step(rows, lr=1e-3, seed=0, step=step),
        UPDATE: lambda step: engine.average.after_step(10 * step + 10),
        EVALUATE: lambda _: engine.evaluate(rows),
        AVERAGED: lambda _: evaluate_average(),
        COPY: lambda _: less.take(without_average(engine.own_fragments())),
        COPIED: lambda _: whole.take(engine.own_fragments()),
    }
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    for step in range(-2, arguments.repeats):
        for name, work in kinds.items():
            began = time.process_time()
            work(max(step, 0))
            seconds[name].append(time.process_time() - began)
        engine.sync_metrics()
    return {name: each[2:] for name, each in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=10, help="layers of the model (default 10, 11M parameters)")
    parser.add_argument("--length", type=int, default=64, help="tokens of a step (default 64)")
    parser.add_argument("--stage", type=int, default=1, help="ZeRO stage (default 1)")
    parser.add_argument("--precision", default="fp32", help="fp32 (default) or bf16")
    parser.add_argument("--repeats", type=int, default=8, help="turns; the median counts")
    arguments, _ = parser.parse_known_args()
    with process_group():
        config = make_config(arguments)
        model = build_model(config.model, 0)
        size = sum(parameter.numel() for parameter in model.parameters())
        with closing(Engine(config, model, average=MovingAverage(0.045), conventions=NEWEST)) as engine:
            seconds = measure(engine, arguments)
        if rank() == 0:
            title = f"{size / 1e6:.1f}M parameters, ZeRO {arguments.stage}, {arguments.precision}, {world_size()} ranks"
            table = Table("work", "ms", "of a step", title=title)
            for name, each in seconds.items():
                table.add_row(name, f"{1e3 * median(each):.1f}", f"{median(each) / median(seconds[STEP]):.3f}")
            Console().print(table)


if __name__ == "__main__":
    main()
