"""What every rank of a process group runs: some paths of a plan, one after the other, parents before children.

Starting a process group costs seconds, a path of a small plan too: so one group takes several paths.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from lrps.data.stream import Source, Stage
from lrps.data.tokenizer import load_tokenizer
from lrps.engine.deepspeed_engine import Engine, process_group
from lrps.engine.model import build_model
from lrps.engine.ranks import ask_rank_zero
from lrps.errors import ConfigError, DataError, LineageError
from lrps.paths.graph import Path
from lrps.plan import Plan
from lrps.status import missing_evaluations
from lrps.store.files import atomic_write_json
from lrps.store.identity import check_identity, path_identity
from lrps.store.lock import path_lock
from lrps.track.console import TrainingConsole
from lrps.train.origin import newest_checkpoint, origin_of
from lrps.train.recorder import Recorder
from lrps.train.signals import StopRequest
from lrps.train.trainer import Trainer

LAUNCHED_AT = "LRPS_LAUNCHED_AT"
"""Environment variable: `time.time()` at which the launcher was started, so that starting up is booked too."""


def run_job(plan: Plan, names: Sequence[str], *, train: bool = True) -> bool:
    """Start the process group and run the named paths in it; False if asked to stop before the end.

    train False evaluates only, and refuses a path that is not trained to its end.
    """
    since = float(os.environ.pop(LAUNCHED_AT, time.time()))
    stop_request = StopRequest()
    with process_group():
        return run_paths(plan, names, stop_request, since=since, train=train)


def run_paths(plan: Plan, names: Sequence[str], stop_request: StopRequest, *, since: float, train: bool = True) -> bool:
    """Run the named paths in the order of the graph, on all ranks of the running process group.

    since: `time.time()` from which the first path is held to account for the devices.
    """
    if unknown := [name for name in names if name not in plan.graph.by_name]:
        raise ConfigError(f"the plan has no path {', '.join(unknown)}; it has {', '.join(plan.graph.by_name)}")
    paths = [path for path in plan.graph.paths if path.name in names]
    tokenizer_sha256 = _checked_tokenizer(plan)
    todo = ask_rank_zero(lambda: sum(_steps_to_do(plan, path) for path in paths))
    with TrainingConsole(todo) as console:
        for path in paths:
            if not _run_path(plan, path, tokenizer_sha256, stop_request, console, since, train):
                return False
            since = time.time()
    return True


def _steps_to_do(plan: Plan, path: Path) -> int:
    newest, _ = newest_checkpoint(plan.layout.path(path.name))
    return path.stop - min(max(path.start, newest.step if newest else 0), path.stop)


def _checked_tokenizer(plan: Plan) -> str:
    """The SHA-256 of the plan's tokenizer, after comparing it with every version's shards and with the model."""
    _, identity = load_tokenizer(plan.config.data.tokenizer_path)
    for version, manifest in plan.manifests.items():
        if manifest.tokenizer.sha256 != identity.sha256:
            raise DataError(
                f"version {version} was tokenized with {manifest.tokenizer.name} ({manifest.tokenizer.sha256[:12]}), "
                f"the config's tokenizer is {plan.config.data.tokenizer_path} ({identity.sha256[:12]}); "
                "give the one that made the shards, or build the version again under another name"
            )
    vocabulary = (plan.config.model.architecture or {}).get("vocab_size")
    if vocabulary is not None and vocabulary < identity.vocabulary:
        raise ConfigError(
            f"model.architecture.vocab_size is {vocabulary}, the tokenizer has {identity.vocabulary} tokens; "
            f"set it to {identity.vocabulary} or more"
        )
    return identity.sha256


def _run_path(
    plan: Plan,
    path: Path,
    tokenizer_sha256: str,
    stop_request: StopRequest,
    console: TrainingConsole,
    since: float,
    train: bool,
) -> bool:
    """One path under its lock; whatever goes wrong is in its ledger."""
    layout = plan.layout.path(path.name)
    with ExitStack() as held:
        ask_rank_zero(lambda: held.enter_context(path_lock(layout.directory)))
        sources = _open_sources(plan, path)
        ask_rank_zero(lambda: _claim(plan, path, tokenizer_sha256, sources))
        origin = ask_rank_zero(lambda: origin_of(path, plan.layout))
        missing = ask_rank_zero(lambda: missing_evaluations(plan, path))
        if origin.step >= path.stop and not missing:
            return True
        if origin.step < path.stop and not train:
            raise LineageError(
                f"{path.name} is trained to step {origin.step} of {path.stop}; `lrps run` trains it first"
            )
        stage = Stage(path.segments, sources, plan.config.batch.sequences)
        model = build_model(plan.config.model, plan.config.seed, plan.config.engine.activation_checkpointing)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        engine = Engine(plan.config, model)
        recorder = _recorder(plan, path, engine, console, since) if engine.rank == 0 else None
        try:
            if recorder is not None:
                recorder.start(origin, _facts(plan, path, engine, parameters))
            trainer = Trainer(plan, path, engine, stage, missing=missing, stop_request=stop_request, recorder=recorder)
            finished = trainer.run(origin)
        except BaseException as error:
            if recorder is not None:
                recorder.failure(error)
            raise
        finally:
            engine.close()
        if recorder is not None:
            recorder.stop("complete" if finished else "interrupted")
        return finished


def _open_sources(plan: Plan, path: Path) -> dict[str, Source]:
    """The sources that the path reads, cut to the rows that the plan counts."""
    sources: dict[str, Source] = {}
    for name in {part.source: None for segment in path.segments for part in segment.parts}:
        if name not in plan.manifests:
            raise DataError(f"{path.name} reads version {name}, which has no shards yet; run `lrps data build CONFIG`")
        sources[name] = Source(
            plan.manifests[name],
            plan.config.data.root / name,
            sequence_length=plan.config.data.sequence_length,
            seed=plan.config.seed,
            order=plan.config.data.order,
            rows=plan.increment(name).rows,
        )
    return sources


def _claim(plan: Plan, path: Path, tokenizer_sha256: str, sources: dict[str, Source]) -> None:
    """Check that the directory is this path's, then write down what the path is now (it may have grown)."""
    layout = plan.layout.path(path.name)
    known = {name: {"manifest_sha256": source.manifest.sha256, "rows": source.rows} for name, source in sources.items()}
    identity = path_identity(path, plan.config, tokenizer_sha256, known)
    if layout.path_json.exists():
        check_identity(layout.path_json, identity)
    atomic_write_json(layout.path_json, identity)


def _recorder(plan: Plan, path: Path, engine: Engine, console: TrainingConsole, since: float) -> Recorder:
    layout, config = plan.layout.path(path.name), plan.config
    wandb: Any = None
    if config.track.wandb != "off":
        from lrps.track.wandb import WandbRun

        wandb = WandbRun(
            config.track,
            plan=config.name,
            path=path.name,
            job=path.job,
            directory=layout.directory,
            config={**config.model_dump(mode="json"), "lineage": _lineage(plan, path)},
            say=console.say,
        )
    return Recorder(
        path,
        layout,
        console,
        tokens_per_step=config.tokens_per_step,
        flops_per_token=plan.costs.flops_per_token,
        processes=engine.world_size,
        log_every_steps=config.track.log_every_steps,
        since=since,
        wandb=wandb,
    )


def _lineage(plan: Plan, path: Path) -> dict[str, Any]:
    sources = {part.source for segment in path.segments for part in segment.parts}
    return {
        "path": path.name,
        "parent": None if path.parent is None else path.parent.path,
        "branch_point_step": path.start,
        "branch_point_tokens": path.start * plan.config.tokens_per_step,
        "manifests": {name: plan.manifests[name].sha256 for name in sorted(sources)},
    }


def _facts(plan: Plan, path: Path, engine: Engine, parameters: int) -> dict[str, Any]:
    """What the ledger's start record says beyond the path itself."""
    hardware = plan.config.hardware
    price = hardware.price_per_device_hour if hardware else None
    return {
        "plan": plan.config.name,
        "device": engine.device_name,
        "parameters": parameters,
        "manifests": _lineage(plan, path)["manifests"],
        "price_per_device_hour": None if price is None else price.model_dump(),
        **engine.facts,
    }
