"""What a guard that may skip steps costs a step: real engines with and without a judge, in turns.

torchrun --nproc-per-node 2 tools/bench_guard.py [--stage 1] [--bf16] [--hidden 256] [--layers 4] [--rows 8]
    [--length 256]
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import numpy as np
import torch

from lrps.config.guarding import GuardConfig
from lrps.config.models import Config
from lrps.engine.deepspeed_engine import Engine, process_group
from lrps.engine.model import build_model
from lrps.engine.update_gate import Judge
from lrps.train.spike_guard import GuardState, judge

WARM_UP, TURNS, STEPS = 3, 20, 5
VOCABULARY = 1024


def main() -> None:
    """Print the median time of a step in both ways, and their ratio."""
    arguments = _arguments()
    with process_group():
        torch.set_num_threads(1)
        config = _config(arguments)
        engine = Engine(config, build_model(config.model, 0, False))
        rows = np.random.default_rng(0).integers(0, VOCABULARY, (engine.rows_per_rank, arguments.length))
        guard = _Guard()
        for each in (None, guard.judge):
            _seconds(engine, rows, each, WARM_UP)
        turns = [(_seconds(engine, rows, None), _seconds(engine, rows, guard.judge)) for _ in range(TURNS)]
        if engine.rank == 0:
            without, judged = (1000 * median(each) for each in zip(*turns, strict=True))
            ratio = median(with_guard / bare for bare, with_guard in turns)
            print(f"without a guard {without:.2f} ms a step, with {judged:.2f}; ratio of neighbours {ratio:.4f}")
        engine.close()


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
    """Return the seconds of a step, with one metrics sync after all of them."""
    began = time.perf_counter()
    for step in range(steps):
        engine.train_step(rows, lr=1e-4, seed=0, step=step, judge=judge)
    engine.sync_metrics()
    return (time.perf_counter() - began) / steps


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
