"""One process of tools/measure_memory.py, not to be started by hand: real engines that take steps, and what they held.

Arguments: `cases` and a list of cases as JSON; or a program, the directory of its data and its case.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_train_setup import GPU_SHAPES, GPU_VOCABULARY, rows_of
from bench_train_setup import Case as TrainedCase
from live_bytes import LiveBytes

from lrps.config.models import Config
from lrps.paths.decoder import decoder_of
from lrps.paths.memory import Setting, memory_need
from lrps.store.conventions import NEWEST

_SMALL = {"model_type": "llama", "num_attention_heads": 4, "num_hidden_layers": 4, "max_position_embeddings": 2048}
SHAPES: dict[str, dict[str, Any]] = {
    "1M": {**_SMALL, "hidden_size": 128, "intermediate_size": 384, "num_key_value_heads": 2, "vocab_size": 1000}
    | {"tie_word_embeddings": True},
    "4M": {**_SMALL, "hidden_size": 256, "intermediate_size": 704, "vocab_size": 2048},
    "gpt2": {"model_type": "gpt2", "n_embd": 192, "n_layer": 4, "n_head": 4, "n_positions": 512, "vocab_size": 1000}
    | dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0),
    "wide": {**_SMALL, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1, "vocab_size": 50_000},
    **{
        name: {"model_type": "llama", "vocab_size": GPU_VOCABULARY, "max_position_embeddings": 2048, **shape}
        for name, shape in GPU_SHAPES.items()
    },
}
"""`wide` has so many logits that they are taken in chunks."""
STEPS = 3


@dataclass(frozen=True)
class Case:
    size: str
    ranks: int
    zero: int
    precision: str
    rows: int
    """Of a micro-batch."""
    micro_batches: int
    length: int
    checkpointing: bool = False
    attention: str | None = None
    cross_entropy: str | None = None

    def config(self) -> Config:
        engine = {"zero_stage": self.zero, "precision": self.precision, "activation_checkpointing": self.checkpointing}
        return Config.model_validate(
            {
                "name": "memory",
                "model": {"architecture": SHAPES[self.size]},
                "data": {"root": "none", "sequence_length": self.length, "versions": [{"name": "v1", "tokens": 10**9}]},
                "batch": {"sequences": self.ranks * self.rows * self.micro_batches, "micro_sequences": self.rows},
                "schedule": {"peak_lr": 1e-4},
                "launch": {"launcher": "deepspeed", "hostfile": "none"},
                "engine": {**engine, "attention": self.attention, "cross_entropy": self.cross_entropy},
                "paradigms": {"ptfs": {}},
            }
        )

    def forecast(self, on_gpu: bool) -> int:
        """Bytes."""
        decoder = decoder_of(self.config().model)
        assert decoder is not None
        setting = Setting(
            zero_stage=self.zero,
            precision="bf16" if self.precision == "bf16" else "fp32",
            devices=self.ranks,
            rows=self.rows,
            micro_batches=self.micro_batches,
            length=self.length,
            checkpointing=self.checkpointing,
            attention=self.attention,
            chunked=self.cross_entropy != "full",
            gloo=not on_gpu,
        )
        return memory_need(decoder, setting).peak.total


class Peak:
    """Of tensors, on the device that there is."""

    def __init__(self) -> None:
        self._live = None if torch.cuda.is_available() else LiveBytes()
        self.scope: Any = self._live or nullcontext()

    def reset(self) -> None:
        self._live.reset() if self._live else torch.cuda.reset_peak_memory_stats()

    def read(self) -> int:
        return self._live.peak if self._live else torch.cuda.max_memory_allocated()


def measure(case: Case) -> int:
    """Bytes at the peak of the last of some steps of a real engine; within a process group."""
    from lrps.engine.deepspeed_engine import Engine
    from lrps.engine.model import build_model

    config, peak, tokens = case.config(), Peak(), np.random.default_rng(0)
    with peak.scope:
        model = build_model(config.model, 0, case.checkpointing, case.attention)
        engine = Engine(config, model, conventions=NEWEST)
        del model
        try:
            for step in range(STEPS):
                shape = (engine.rows_per_rank, case.length)
                rows = tokens.integers(0, SHAPES[case.size]["vocab_size"], shape)
                peak.reset()
                engine.train_step(rows, lr=1e-4, seed=0, step=step)
                found = peak.read()
                engine.sync_metrics()
        finally:
            engine.close()
    return found


def measure_all(cases: Sequence[Case]) -> None:
    """Print a JSON line a case: one rank's part of them, in one process group."""
    from lrps.engine.deepspeed_engine import process_group

    with process_group():
        for case in cases:
            found: dict[str, Any]
            try:
                found = {"measured": measure(case)}
            except torch.cuda.OutOfMemoryError:
                found = {"measured": None}
            print(json.dumps({**found, "forecast": case.forecast(torch.cuda.is_available())}), flush=True)


def trained(case: TrainedCase, program: str, root: Path) -> None:
    """Print the peaks of some steps, of tensors and of the process, of lrps's trainer or of a bare loop."""
    peak = Peak()
    with peak.scope:
        config = case.config(root, root / "runs")
        told = _lrps(config, peak) if program == "lrps" else _bare(case, config, peak, root)
    print(json.dumps(told), flush=True)


class _Watch:
    """Begins with the third step and ends with the fifth."""

    def __init__(self, peak: Peak) -> None:
        self._peak, self._step = peak, 0
        self.found: dict[str, int] = {}

    def before_step(self) -> None:
        self._step += 1
        if self._step == 3:
            self._peak.reset()
            Path("/proc/self/clear_refs").write_text("5")
        if self._step == 6:
            status = Path("/proc/self/status").read_text().split("VmHWM:")[1]
            self.found = {"tensors": self._peak.read(), "process": int(status.split()[0]) * 1024}


def _lrps(config: Config, peak: Peak) -> dict[str, int]:
    from lrps.engine.deepspeed_engine import process_group
    from lrps.plan.plan import make_plan
    from lrps.train import job
    from lrps.train.signals import StopRequest
    from lrps.train.trainer import Trainer

    watch = _Watch(peak)

    class Watched(Trainer):
        def _train_step(self) -> bool:
            watch.before_step()
            return super()._train_step()

    job.Trainer = Watched  # type: ignore[misc, attr-defined]
    plan = make_plan(config)
    with process_group():
        job.run_paths(plan, [plan.graph.paths[0].name], StopRequest())
    return watch.found


def _bare(case: TrainedCase, config: Config, peak: Peak, root: Path) -> dict[str, int]:
    from lrps.engine.deepspeed_engine import deepspeed, process_group
    from lrps.engine.model import build_model
    from lrps.engine.optimizers.parameter_groups import parameter_groups

    watch, rows = _Watch(peak), rows_of(root, case)
    with process_group():
        model = build_model(config.model, config.seed)
        optimizer = torch.optim.AdamW(parameter_groups(model, config.optimizer), lr=1e-4, fused=True)
        elements = sum(parameter.numel() for parameter in model.parameters())
        settings = {
            "train_micro_batch_size_per_gpu": case.rows,
            "gradient_clipping": 1.0,
            # DeepSpeed's default would be 5e8 elements, which no small model needs.
            "zero_optimization": {"stage": case.zero, "reduce_bucket_size": min(5 * 10**8, elements)},
            "bf16": {"enabled": case.precision == "bf16", "check_grad_overflow": True},
            "steps_per_print": 10**9,
        }
        settings |= {"data_types": {"grad_accum_dtype": "fp32"}} if case.zero > 1 and case.precision == "bf16" else {}
        engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=settings, dist_init_required=False)
        engine.train()
        for step in range(6):
            watch.before_step()
            batch = torch.from_numpy(rows[step * case.rows : (step + 1) * case.rows].astype(np.int64)).to(engine.device)
            engine.backward(engine(input_ids=batch, labels=batch).loss)
            engine.step()
    return watch.found


def main() -> None:
    what, *rest = sys.argv[1:]
    if not torch.cuda.is_available():
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    if what == "cases":
        measure_all([Case(**values) for values in json.loads(rest[0])])
    else:
        trained(TrainedCase(**json.loads(rest[1])), what, Path(rest[0]))


if __name__ == "__main__":
    main()
