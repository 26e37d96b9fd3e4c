"""A finished run without training: real fragments, checkpoints and ledgers with made-up weights and losses."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import torch
import yaml

from lrps.base.files import atomic_write_json
from lrps.config.loader import load_config
from lrps.engine.checkpointing import save_checkpoint
from lrps.engine.fragments import own_fragments
from lrps.engine.model import build_model
from lrps.ledger.records import FORMAT, Counters
from lrps.ledger.writer import LedgerWriter
from lrps.paths.graph import TrainingPath
from lrps.plan.initial import with_initial_weights
from lrps.plan.plan import Plan, make_plan
from lrps.store.checkpoints import pin

SECONDS_A_STEP = 36.0
"""100 steps are one device-hour."""


class _Engine:
    """The part of an engine that saving uses, with a different model for every step of every path."""

    facts = {  # noqa: RUF012
        "world_size": 2, "zero_stage": 1, "precision": "fp32",
        "versions": {"torch": "2.13.0", "deepspeed": "0.19.8", "transformers": "5.23.0"},
    }  # fmt: skip

    def __init__(self, plan: Plan, path: TrainingPath, step: int) -> None:
        model = trained_model(plan, path.name, step)
        adam = torch.optim.AdamW(model.parameters())
        self._held = SimpleNamespace(module=model, optimizer=adam, zero_optimization_stage=lambda: 0)

    def own_fragments(self) -> object:
        return own_fragments(self._held)


def trained_model(plan: Plan, name: str, step: int) -> torch.nn.Module:
    """Return the model that the checkpoint of `step` contains."""
    model = build_model(plan.config.model, 0).eval()
    generator = torch.Generator().manual_seed(sum(name.encode()) * 1000 + step)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model


def train(plan: Plan, path: TrainingPath) -> None:
    """Write the files that training a path leaves, with made-up costs and losses."""
    layout = plan.layout.path(path.name)
    layout.directory.mkdir(parents=True, exist_ok=True)
    atomic_write_json(layout.path_json, with_initial_weights(plan.identity(path), plan.config.model))
    ledger, counters = LedgerWriter(layout.ledger), Counters()
    start = {"format": FORMAT, "path": path.name, "path_start": path.start, "device": "cpu", "processes": 2}
    ledger.append("start", path.start, counters, **start)
    for step in sorted({*plan.graph.branch_points(path.name), path.stop}):
        counters.steps = step - path.start
        counters.tokens = counters.steps * plan.config.tokens_per_step
        counters.training_seconds = counters.allocated_seconds = counters.steps * SECONDS_A_STEP
        ledger.append("heartbeat", step, counters, loss=2.0)
        named = {"plan": plan.config.name, "path": path.name, "training_sha256": plan.training_sha256}
        saved = save_checkpoint(_Engine(plan, path, step), layout, step, named)  # type: ignore[arg-type]
        pin(saved, layout.branch_points)
        ledger.append("checkpoint", step, counters, directory=saved.directory.name, bytes=saved.bytes)
    for release in dict.fromkeys(r for r in plan.graph.releases if r.path == path.name):
        for number, version in enumerate(plan.heldout_versions(release.version)):
            result = {"loss": 2.5 + number, "bits_per_byte": 1.25, "rows": 7, "tokens": 105}
            sha256 = plan.heldout[version].sha256
            ledger.append("evaluation", release.step, counters, heldout=version, manifest_sha256=sha256, **result)
    ledger.append("stop", path.stop, counters, outcome="complete")
    ledger.close()


def write_released_run(tiny_config: Path, file: Path) -> None:
    """Write the config file of a finished plan of two versions, and its run beside it."""
    values = {**yaml.safe_load(tiny_config.read_text()), "runs": str(file.parent / "runs")}
    values["paradigms"] = {"path-switching": {"alpha": 0.6}, "cpt": {}}
    file.write_text(yaml.safe_dump(values, sort_keys=False))
    plan = make_plan(load_config(file))
    for path in plan.graph.paths:
        train(plan, path)
