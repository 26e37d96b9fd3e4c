"""One step of a small copy of a model whose rows are divided among ranks, beside the same step of one rank alone.

DeepSpeed 0.19.8 divides gradients by the wrong number of ranks in one of its ways to reduce them, and loses masks of
attention; both show only in the numbers. Must not import deepspeed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lrps.base.errors import ConfigError
from lrps.config.models import Config
from lrps.engine.ranks import failing_together, world_size
from lrps.engine.sequence.support import trial_of, trial_rows, whole_inputs

if TYPE_CHECKING:
    from lrps.engine.deepspeed_engine import Engine

Start = Callable[[Config, nn.Module, int | None], "Engine"]
"""Function from a config, a model and the EOS token, if documents are kept apart, to an engine."""
_TOLERANCE: Mapping[str, float] = {"fp32": 1e-4, "bf16": 0.1}
"""Relative tolerance of loss and gradient norm: rounding. With the wrong number of ranks the norm is off by half."""
_FEW = 2
"""Largest number of rows of a micro-batch, and of micro-batches, in the trial."""


def check_step(config: Config, model: Any, start: Start) -> None:
    """Check the loss and the gradient norm of one step, in fp32 and in the config's precision. Collective.

    model: transformers' config of it, which is not changed. Neither weights nor random generators of the caller are
    touched. Raises ConfigError on all ranks if a number differs from that of one rank alone.
    """
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        for precision in dict.fromkeys(("fp32", config.engine.precision)):
            tried = _tried(config, precision)
            trial = trial_of(config, model)
            rows, end = trial_rows(config, trial, tried.batch.sequences)
            alone = _alone(trial.model, rows, end, precision)
            with closing(start(tried, trial.model, end)) as engine:
                together = _step(engine, rows)
            with failing_together(alike=True):
                _compare(config, model.model_type, precision, alone, together)


def _tried(config: Config, precision: str) -> Config:
    """Return a config with few rows in as many micro-batches as the real one, but not more than two."""
    groups = world_size() // config.engine.sequence_parallel
    rows = config.rows_each(world_size())
    micro = min(config.batch.micro_sequences or rows, rows)
    few, batches = min(micro, _FEW), min(rows // micro, _FEW)
    batch = config.batch.model_copy(update={"sequences": groups * few * batches, "micro_sequences": few})
    engine = config.engine.model_copy(update={"precision": precision})
    return config.model_copy(update={"batch": batch, "engine": engine})


def _alone(model: Any, rows: Tensor, end: int | None, precision: str) -> tuple[float, float]:
    """Return the loss and the gradient norm of whole rows in plain torch. The model is rounded to the precision."""
    if precision == "bf16":
        for parameter in model.parameters():
            parameter.data = parameter.data.bfloat16().float()
    loss = model(**whole_inputs(rows, end), labels=rows).loss
    loss.backward()
    norm = torch.nn.utils.get_total_norm([each.grad for each in model.parameters() if each.grad is not None])
    model.zero_grad()
    return float(loss.detach()), float(norm)


def _step(engine: Engine, rows: Tensor) -> tuple[float, float]:
    """Return the loss and the gradient norm of one step, which passes without an update."""
    found: list[tuple[float, float]] = []

    def judge(loss: float, norm: float) -> bool:
        found.append((loss, norm))
        return True

    own = rows.chunk(engine.grid.data_ranks)[engine.grid.data_rank]
    engine.train_step(own.numpy(), lr=0.0, seed=0, step=0, judge=judge)
    return found[0]


def _compare(
    config: Config, kind: str, precision: str, alone: tuple[float, float], together: tuple[float, float]
) -> None:
    for what, expected, found in zip(("loss", "gradient norm"), alone, together, strict=True):
        if not abs(found - expected) <= _TOLERANCE[precision] * abs(expected):
            raise ConfigError(
                f"engine.sequence_parallel {config.engine.sequence_parallel}: a small {kind} model has the {what} "
                f"{found:.6g} in {precision}, one process alone {expected:.6g}; leave the key out. If "
                "`engine.deepspeed` sets nothing, this is a defect of lrps: report it"
            )
