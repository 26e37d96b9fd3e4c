"""How long training stands still for a checkpoint, and what else is done with one, against the size of the model.

A real engine trains a llama of each size on one short row a step. Saves that are awaited and saves in flight take
turns; what they make superfluous is removed as the trainer does it, beside the steps. Figures are ratios of medians, to
the awaited save: seconds depend on the machine, which may be shared. What a save in flight costs in all is its stall
and what it slows the steps down by, which is much where training uses all cores (OMP_NUM_THREADS is the number of them
for training). Several ranks: start it with `deepspeed`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from lrps.config.models import Config
from lrps.config.values import parse_quantity
from lrps.engine.checkpointing import Saver, load_checkpoint, save_checkpoint
from lrps.engine.deepspeed_engine import Engine, process_group
from lrps.engine.model import build_model
from lrps.engine.ranks import ask_rank_zero, rank, world_size
from lrps.engine.universal import write_universal
from lrps.store.checkpoints import Checkpoint, pin
from lrps.store.conventions import NEWEST
from lrps.store.kept_checkpoints import prune_checkpoints
from lrps.store.layout import PathLayout
from lrps.store.newest import newest_intact

EXAMPLE = "example: python tools/bench_checkpoint.py --sizes 10M 50M 125M --out data/bench-checkpoint.json"
VOCABULARY, LENGTH = 8192, 32
AWAITED, STALL = "awaited save", "stall of a save in flight"
FIRST, LOST, IN_FLIGHT, STEP = "the first such stall", "its cost in all", "time in flight", "step"


def make_config(parameters: int, stage: int, precision: str) -> Config:
    """A llama of about so many parameters."""
    hidden = next(h for h in range(128, 8192, 128) if parameters < 12 * h * h * 25 + VOCABULARY * h)
    architecture = {
        "model_type": "llama",
        "vocab_size": VOCABULARY,
        "hidden_size": hidden,
        "intermediate_size": hidden * 8 // 3 // 64 * 64,
        "num_hidden_layers": max(1, round((parameters - VOCABULARY * hidden) / (12 * hidden * hidden))),
        "num_attention_heads": hidden // 64,
        "max_position_embeddings": LENGTH,
        "tie_word_embeddings": True,
    }
    return Config.model_validate(
        {
            "name": "bench",
            "model": {"architecture": architecture},
            "data": {"root": "none", "sequence_length": LENGTH, "versions": [{"name": "v1"}]},
            "batch": {"sequences": world_size()},
            "launch": {"launcher": "deepspeed", "hostfile": "none"},
            "schedule": {"peak_lr": 1e-4},
            "engine": {"zero_stage": stage, "precision": precision},
            "paradigms": {"ptfs": {}},
        }
    )


class Bench:
    """One engine, its checkpoints, and the seconds that things took: name -> one figure a repeat."""

    def __init__(self, engine: Engine, layout: PathLayout, steps: int) -> None:
        """steps: between two saves; what a step takes while a save is in flight is compared to them."""
        self.engine, self.layout, self.steps, self.step = engine, layout, steps, 0
        self.seconds: dict[str, list[float]] = {}
        self._rows = np.random.default_rng(rank()).integers(0, VOCABULARY, (1, LENGTH))

    def time(self, name: str, action: Callable[[], Any]) -> float:
        """Do it on all ranks, and note how long it took on this one."""
        began = time.perf_counter()
        action()
        took = time.perf_counter() - began
        self.note(name, took)
        return took

    def note(self, name: str, seconds: float) -> None:
        self.seconds.setdefault(name, []).append(seconds)

    def train(self, name: str, written: bool = False) -> bool:
        """One step; True if all ranks have written their files."""
        told: list[bool] = []

        def step() -> None:
            self.engine.train_step(self._rows, lr=1e-4, seed=0, step=self.step)
            told.append(self.engine.sync_metrics(written=written).written)

        self.time(name, step)
        self.step += 1
        return told[0]

    def save_awaited(self) -> None:
        self.time(AWAITED, lambda: save_checkpoint(self.engine, self.layout, self.step, {}))
        ask_rank_zero(self.prune)

    def save_in_flight(self, saver: Saver) -> None:
        """Begin a save, train until all ranks have written their files, and publish. The first and the last stall."""

        def finish() -> None:
            saver.finish()
            if rank() == 0:
                saver.queue(self.prune)

        stall, steps, first = self.time("begin", lambda: saver.begin(self.step, {})), 0, FIRST not in self.seconds
        began = time.perf_counter()
        while not self.train("step beside a save in flight", saver.written):
            steps += 1
        in_flight = time.perf_counter() - began
        stall += self.time("publish", finish)
        self.note(FIRST if first else STALL, stall)
        self.note(IN_FLIGHT, in_flight)
        self.note(LOST, stall + in_flight - (steps + 1) * median(self.seconds[STEP][-self.steps :]))

    def prune(self) -> None:
        prune_checkpoints(self.layout.checkpoints, 2)


def load(bench: Bench, checkpoint: Checkpoint) -> None:
    load_checkpoint(bench.engine, checkpoint)


def pin_it(bench: Bench, checkpoint: Checkpoint) -> None:
    ask_rank_zero(lambda: pin(checkpoint, bench.layout.branch_points), Checkpoint)


def convert(bench: Bench, checkpoint: Checkpoint) -> None:
    out = bench.layout.directory / "universal"
    ask_rank_zero(lambda: write_universal(checkpoint.directory, out, checkpoint.step, 0, {}), Path)
    ask_rank_zero(lambda: shutil.rmtree(out))


USES: dict[str, Callable[[Bench, Checkpoint], None]] = {
    "pin as a branch point": pin_it,
    "verify and load": load,
    "convert to universal": convert,
}
"""What is done with a checkpoint: all ranks do it, and its ratio to the awaited save becomes a column."""
COLUMNS = (STALL, FIRST, LOST, IN_FLIGHT, *USES)


def measure(parameters: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """All figures of one size."""
    config = make_config(parameters, arguments.stage, arguments.precision)
    model = build_model(config.model, 0)
    exact = sum(parameter.numel() for parameter in model.parameters())
    root = Path(ask_rank_zero(lambda: tempfile.mkdtemp(prefix="bench-checkpoint-", dir=arguments.directory)))
    with closing(Engine(config, model, conventions=NEWEST)) as engine:
        del model
        bench = Bench(engine, PathLayout(root), arguments.steps)
        try:
            for _ in range(2):
                bench.train("warming up")
            with closing(Saver(engine, bench.layout)) as saver:
                saver.prepare()
                for _ in range(arguments.repeats + 1):
                    bench.save_awaited()
                    for _ in range(arguments.steps):
                        bench.train(STEP)
                    bench.save_in_flight(saver)
            checkpoint = ask_rank_zero(lambda: newest_intact(bench.layout.checkpoints)[0], Checkpoint)
            for _ in range(arguments.repeats):
                for name, use in USES.items():
                    ask_rank_zero(lambda: shutil.rmtree(bench.layout.branch_points, ignore_errors=True))
                    bench.time(name, lambda use=use: use(bench, checkpoint))  # type: ignore[misc]
            return {"parameters": exact, "bytes": checkpoint.bytes, "seconds": bench.seconds, **ratios(bench.seconds)}
        finally:
            ask_rank_zero(lambda: shutil.rmtree(root, ignore_errors=True))


def ratios(seconds: dict[str, list[float]]) -> dict[str, float]:
    """Of medians, to the awaited save."""
    return {name: median(seconds[name]) / median(seconds[AWAITED]) for name in COLUMNS}


def report(results: list[dict[str, Any]], arguments: argparse.Namespace) -> None:
    table = Table(title=f"ZeRO {arguments.stage}, {arguments.precision}, ranks: {world_size()}")
    for heading in ("parameters", "MB", f"{AWAITED}, s", f"{STEP}, s", *COLUMNS):
        table.add_column(heading, justify="right")
    for found in results:
        seconds = (f"{median(found['seconds'][name]):.2f}" for name in (AWAITED, STEP))
        sizes = (f"{found['parameters'] / 1e6:.1f}M", f"{found['bytes'] / 1e6:,.0f}")
        table.add_row(*sizes, *seconds, *(f"{found[name]:.2f}" for name in COLUMNS))
    console = Console(width=150)
    console.print(table)
    console.print(f"Columns without a unit are ratios to the {AWAITED}.")
    if arguments.out:
        settings = {key: str(value) for key, value in vars(arguments).items() if key != "out"}
        machine = {"python": platform.python_version(), "cores": os.cpu_count(), "ranks": world_size()}
        text = json.dumps({"settings": settings, "machine": machine, "sizes": results}, indent=1)
        arguments.out.write_text(text + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", default=["10M", "50M", "125M"], help="parameters of the models")
    parser.add_argument("--stage", type=int, default=1, help="ZeRO stage (default 1)")
    parser.add_argument("--precision", default="fp32", help="fp32 (default) or bf16")
    parser.add_argument("--repeats", type=int, default=5, help="saves of each kind; the median counts")
    parser.add_argument("--steps", type=int, default=4, help="steps between saves (default 4)")
    parser.add_argument("--directory", help="where checkpoints are written, by default the temporary directory")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    arguments, _ = parser.parse_known_args()
    with process_group():
        results = [measure(int(parse_quantity(size)), arguments) for size in arguments.sizes]
        if rank() == 0:
            report(results, arguments)


if __name__ == "__main__":
    main()
