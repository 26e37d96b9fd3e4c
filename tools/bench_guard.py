"""What a guard that may skip steps costs a step: real engines with and without a judge, in turns.

Figures are user CPU seconds of rank 0, which other processes of the machine change least, and the ratio of neighbouring
turns: its median, and the interval that has the true median in it in 95 of 100 cases. The time of the verdict alone is
measured apart.

torchrun --nproc-per-node 2 tools/bench_guard.py [--stage 1] [--bf16] [--hidden 256] [--layers 4] [--rows 8]
    [--length 256]
"""

from __future__ import annotations

import argparse
import resource
from collections.abc import Sequence
from itertools import accumulate
from math import comb
from statistics import median

import numpy as np
import torch

from lrps.config.guarding import GuardConfig
from lrps.config.models import Config
from lrps.engine.deepspeed_engine import Engine, process_group
from lrps.engine.model import build_model
from lrps.engine.update_gate import Judge
from lrps.store.conventions import NEWEST
from lrps.train.watches.spike_guard import GuardState, judge

WARM_UP, TURNS, STEPS = 3, 20, 5
VOCABULARY = 1024


def main() -> None:
    """Print the median user CPU time of a step in both ways, their ratio, and the time of a verdict."""
    arguments = _arguments()
    with process_group():
        torch.set_num_threads(1)
        config = _config(arguments)
        engine = Engine(config, build_model(config.model, 0, False), conventions=NEWEST)
        rows = np.random.default_rng(0).integers(0, VOCABULARY, (engine.rows_per_rank, arguments.length))
        guard = _Guard()
        for each in (None, guard.judge):
            _seconds(engine, rows, each, WARM_UP)
        turns = [(_seconds(engine, rows, None), _seconds(engine, rows, guard.judge)) for _ in range(TURNS)]
        if engine.rank == 0:
            without, judged = (1000 * median(each) for each in zip(*turns, strict=True))
            ratios = sorted(with_guard / bare for bare, with_guard in turns)
            low, high = _median_interval(ratios)
            print(f"user CPU: without a guard {without:.2f} ms a step, with {judged:.2f}")
            print(f"ratio of neighbouring turns {median(ratios):.4f}, 95 % interval {low:.4f} to {high:.4f}")
            print(f"a verdict alone: {1e6 * _verdict_seconds(guard):.0f} us")
        engine.close()


def _median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the interval of ascending values that has the median of their distribution in it in 95 of 100 cases."""
    number = len(values)
    below = list(accumulate(comb(number, k) / 2**number for k in range(number)))
    first = sum(share <= 0.025 for share in below) - 1  # As many values are left out on either side.
    return values[first], values[number - 1 - first]


def _verdict_seconds(guard: _Guard, repeats: int = 2000) -> float:
    began = _user_seconds()
    for number in range(repeats):
        guard.judge(3.0 + number % 7 / 100, 0.9)
    return (_user_seconds() - began) / repeats


def _user_seconds() -> float:
    """Return the user CPU time of this process so far, all threads together."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime


class _Guard:
    """A guard with a full window that judges every step and skips none."""

    def __init__(self) -> None:
        self.config = GuardConfig(action="skip", z=1e9)
        draw = np.random.default_rng(1).normal(3.0, 0.1, (2, self.config.window))
        self.state = GuardState(tuple(draw[0].tolist()), tuple(draw[1].tolist()))

    def judge(self, loss: float, norm: float) -> bool:
        note, self.state = judge(self.state, loss, norm, self.config)
        return note is not None and note.skipped


def _seconds(engine: Engine, rows: np.ndarray, judge: Judge | None, steps: int = STEPS) -> float:
    """Return the user CPU seconds of a step, with one metrics sync after all of them."""
    began = _user_seconds()
    for step in range(steps):
        engine.train_step(rows, lr=1e-4, seed=0, step=step, judge=judge)
    engine.sync_metrics()
    return (_user_seconds() - began) / steps


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("stage", 1), ("hidden", 256), ("layers", 4), ("rows", 8), ("length", 256)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--bf16", action="store_true")
    return parser.parse_args()


def _config(arguments: argparse.Namespace) -> Config:
    architecture = {
        "model_type": "llama",
        "vocab_size": VOCABULARY,
        "hidden_size": arguments.hidden,
        "intermediate_size": 3 * arguments.hidden,
        "num_hidden_layers": arguments.layers,
        "num_attention_heads": 4,
        "max_position_embeddings": arguments.length,
    }
    return Config.model_validate(
        {
            "name": "bench",
            "model": {"architecture": architecture},
            "data": {"root": "none", "sequence_length": arguments.length, "versions": [{"name": "v1"}]},
            "batch": {"sequences": arguments.rows},
            "launch": {"launcher": "deepspeed", "hostfile": "hosts"},  # The number of processes is torchrun's.
            "schedule": {"peak_lr": 1e-3},
            "engine": {"zero_stage": arguments.stage, "precision": "bf16" if arguments.bf16 else "fp32"},
            "paradigms": {"ptfs": {}},
        }
    )


if __name__ == "__main__":
    main()
