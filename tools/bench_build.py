"""Host memory and CPU seconds from a config to an engine: a line for each rank.

torchrun --nproc-per-node 2 tools/bench_build.py HOW [--stage 1] [--size 309M]

HOW: `whole` draws the whole model on every rank, as lrps did before; `parts` draws it unit by unit; `state` builds it
for a checkpoint to be loaded. `leaving` builds no engine: units are dropped as soon as they are drawn, as if they went
to the memory of a GPU.
"""

from __future__ import annotations

import argparse
import gc
import resource
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lrps.config.models import Config
from lrps.engine.build.placed_model import build_placed
from lrps.engine.build.placement import Placement
from lrps.engine.deepspeed_engine import Engine, placement, process_group
from lrps.engine.model import build_model, configure
from lrps.engine.model_config import model_config
from lrps.engine.ranks import gather, rank
from lrps.store.conventions import NEWEST

SIZES = {
    "50M": (512, 1408, 8, 8, 16000),
    "309M": (1024, 3584, 16, 16, 32000),
    "1.4B": (2048, 5632, 24, 16, 32000),
    "6.7B": (4096, 11008, 32, 32, 32000),
}
"""Name -> width, width of the MLP, layers, heads, vocabulary."""


class _Peak(threading.Thread):
    """The highest anonymous memory of this process, in GB, above that at the start."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._begin = self._highest = _anonymous_gb()
        self.start()

    def run(self) -> None:
        while True:
            self._highest = max(self._highest, _anonymous_gb())
            time.sleep(0.005)

    @property
    def gigabytes(self) -> float:
        return self._highest - self._begin


def main() -> None:
    """Build the model and the engine, and print what each rank needed."""
    arguments = _arguments()
    with process_group(retain_memory=False):
        torch.set_num_threads(1)
        config = _config(arguments)
        model_config(config.model)  # Imports transformers.
        gc.collect()
        peak, began = _Peak(), _cpu_seconds()
        model = _build(config, arguments.how)
        text = f"build {peak.gigabytes:.2f} GB, {_cpu_seconds() - began:.1f} CPU-s"
        if arguments.how != "leaving":
            with closing(Engine(config, model, conventions=NEWEST)) as engine:
                text += f"; with DeepSpeed {peak.gigabytes:.2f} GB, {_cpu_seconds() - began:.1f} CPU-s"
                text += f"; {engine.parameters / 1e6:.0f}M parameters"
        for number, line in enumerate(gather(text)):
            if rank() == 0:
                print(f"{arguments.how}, stage {arguments.stage}, rank {number}: {line}")


def _build(config: Config, how: str) -> Any:
    if how == "whole":
        return build_model(config.model, 0)
    where = Placement(dtype=torch.bfloat16, partition=_drop) if how == "leaving" else placement(config)
    model = build_placed(model_config(config.model), 0, where, loaded=how == "state")
    configure(model, False, None)
    return model


def _drop(parameters: Sequence[nn.Parameter]) -> None:
    for parameter in parameters:
        parameter.data = torch.empty(0, dtype=parameter.dtype)


def _anonymous_gb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024 / 1e9


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("how", choices=("whole", "parts", "state", "leaving"))
    parser.add_argument("--stage", type=int, default=1)
    parser.add_argument("--size", choices=SIZES, default="309M")
    return parser.parse_args()


def _config(arguments: argparse.Namespace) -> Config:
    width, inner, layers, heads, vocabulary = SIZES[arguments.size]
    architecture = {
        "model_type": "llama",
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "max_position_embeddings": 128,
    }
    return Config.model_validate(
        {
            "name": "bench",
            "model": {"architecture": architecture},
            "data": {"root": "none", "sequence_length": 128, "versions": [{"name": "v1"}]},
            "batch": {"sequences": 8},
            "launch": {"launcher": "deepspeed", "hostfile": "hosts"},  # The number of processes is torchrun's.
            "schedule": {"peak_lr": 1e-3},
            "engine": {"zero_stage": arguments.stage, "precision": "bf16", "cross_entropy": "full"},
            "paradigms": {"ptfs": {}},
        }
    )


if __name__ == "__main__":
    main()
