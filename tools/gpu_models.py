"""Models, rows and bare loops that the workers of tools/gpu_proof.py compare lrps with, on a GPU or else on the CPU."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from bench_train_setup import Case
from torch import Tensor, nn

from lrps.config.models import Config
from lrps.engine.build.placed_model import build_placed
from lrps.engine.build.placement import Placement
from lrps.engine.deepspeed_engine import Engine, placement
from lrps.engine.model import configure
from lrps.engine.model_config import model_config
from lrps.engine.optimizers.parameter_groups import parameter_groups
from lrps.engine.ranks import rank, world_size
from lrps.store.conventions import NEWEST


def device() -> torch.device:
    """Return the device of this process."""
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if torch.cuda.is_available() else _CPU


_CPU = torch.device("cpu")


def make_config(
    size: str, zero: int, precision: str, rows: int, length: int, *, micro_rows: int | None = None, **engine: Any
) -> Config:
    """Return a config of a llama of this size, see bench_train_setup; its ranks are those of the process group."""
    architecture = Case(size, 1, zero, precision, rows, length, 1).architecture()
    return Config.model_validate(
        {
            "name": "gpu-proof",
            "model": {"architecture": architecture},
            "data": {"root": "none", "sequence_length": length, "versions": [{"name": "v1"}]},
            "batch": {"sequences": rows, "micro_sequences": micro_rows},
            "launch": {"launcher": "deepspeed", "hostfile": "none"},
            "schedule": {"peak_lr": 1e-3},
            "engine": {"zero_stage": zero, "precision": precision, **engine},
            "paradigms": {"ptfs": {}},
        }
    )


def whole_model(config: Config, seed: int = 0) -> nn.Module:
    """Return the model of a path with the seed, whole, in fp32, on the device of this process."""
    model = build_placed(model_config(config.model), seed, Placement(), loaded=False)
    configure(model, False, config.engine.attention)
    return model.to(device()).train()  # type: ignore[no-any-return]


@contextmanager
def running(config: Config, *, seed: int = 0, loaded: bool = False, document_end: int | None = None) -> Iterator[Any]:
    """An engine on such a model. loaded: the weights are placeholders, which a checkpoint replaces."""
    model = build_placed(model_config(config.model), seed, placement(config), loaded=loaded)
    configure(model, config.engine.activation_checkpointing, config.engine.attention)
    engine = Engine(config, model, document_end, conventions=NEWEST)
    del model
    try:
        yield engine
    finally:
        engine.close()


def rows_of(step: int, rows: int, length: int, vocabulary: int = 97) -> np.ndarray:
    """Return token ids (rows, length) of a step, in the type of shards: few distinct rows, which a model can learn."""
    known = np.random.default_rng(0).integers(0, vocabulary, (32, length), np.uint16)
    return known[np.random.default_rng(step + 1).integers(0, len(known), rows)]


def own_share(rows: np.ndarray) -> np.ndarray:
    """Return the rows of this rank."""
    each = len(rows) // world_size()
    return rows[rank() * each : (rank() + 1) * each]


class BareLoop:
    """A loop of plain torch: fused AdamW over fp32 weights, forward and backward passes in autocast for bf16."""

    def __init__(self, config: Config, lr: float) -> None:
        """lr: constant learning rate."""
        self.model = whole_model(config)
        settings: Any = config.optimizer
        groups = parameter_groups(self.model, settings)
        self._adam = torch.optim.AdamW(groups, lr=lr, betas=settings.betas, eps=settings.eps, fused=True)
        self._bf16 = config.engine.precision == "bf16"
        self._clip = settings.clip_grad_norm

    def loss(self, rows: np.ndarray) -> Tensor:
        """Return the mean loss of rows."""
        ids = torch.from_numpy(rows.astype(np.int64)).to(device())
        with torch.autocast(device().type, torch.bfloat16, enabled=self._bf16):
            loss: Tensor = self.model(input_ids=ids, labels=ids).loss
        return loss

    def step(self, loss: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
        """Take a step on this loss; return it and the gradient norm, on the device."""
        value = loss()
        value.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self._clip)
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)
        return value.detach(), norm.detach()
