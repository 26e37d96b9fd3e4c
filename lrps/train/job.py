"""What every rank of a process group runs: some paths of a plan, one after the other, parents before children.

Starting a process group costs seconds, a path of a small plan too: so one group takes several paths.
"""

from __future__ import annotations

import faulthandler
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

from lrps.base.errors import ConfigError, DataError, LineageError
from lrps.base.files import atomic_write_json
from lrps.base.locks import path_lock
from lrps.data.cache import open_files
from lrps.data.stream import PathData, TokenSource
from lrps.data.tokenizer import load_tokenizer
from lrps.engine.deepspeed_engine import Engine, process_group
from lrps.engine.model import build_model
from lrps.engine.ranks import ask_rank_zero, gather, rank, translate_lost_rank_errors
from lrps.launch.rendezvous import LAUNCHED_AT
from lrps.paths.graph import TrainingPath
from lrps.plan.initial import initial_checkpoint, with_initial_weights
from lrps.plan.origin import origin_of
from lrps.plan.plan import Plan, shards_command
from lrps.plan.status import missing_evaluations, saved_step
from lrps.store.identity import check_identity
from lrps.track.console import TrainingConsole
from lrps.train.account import DeviceClock
from lrps.train.recorder import attempt_facts, open_recorder
from lrps.train.signals import StopRequest
from lrps.train.trainer import Trainer
from lrps.train.upkeep import clear_leftovers, pin_saved


def run_job(plan: Plan, names: Sequence[str], *, train: bool = True) -> bool:
    """Start the process group and run the named paths in it; False if asked to stop before the end.

    train False evaluates only, and refuses a path that is not trained to its end.
    """
    since = float(os.environ.pop(LAUNCHED_AT, time.time()))
    stop_request = StopRequest()
    faulthandler.enable()  # A mapped shard that is cut, or whose disk fails, ends a process without a word (SIGBUS).
    patience = timedelta(minutes=plan.config.launch.collective_timeout_minutes)
    with process_group(patience, keep_memory=plan.config.engine.keep_host_memory):
        return run_paths(plan, names, stop_request, since=since, train=train)


def run_paths(plan: Plan, names: Sequence[str], stop_request: StopRequest, *, since: float, train: bool = True) -> bool:
    """Run the named paths in the order of the graph, on all ranks of the running process group.

    since: `time.time()` from which the first path is held to account for the devices.
    """
    if unknown := [name for name in names if name not in plan.graph.by_name]:
        raise ConfigError(f"the plan has no path {', '.join(unknown)}; it has {', '.join(plan.graph.by_name)}")
    paths = [path for path in plan.graph.paths if path.name in names]
    _check_tokenizer(plan)
    todo = ask_rank_zero(lambda: sum(_steps_to_do(plan, path) for path in paths))
    with TrainingConsole(todo, quiet=rank() != 0) as console:
        clock = DeviceClock(since)
        finished = all(
            not any(gather(stop_request.seen)) and _run_path(plan, path, stop_request, console, clock, train)
            for path in paths
        )
    gather(finished)  # ranks end together: the launcher gives those that are left behind 30 seconds
    return finished


def _steps_to_do(plan: Plan, path: TrainingPath) -> int:
    saved = saved_step(plan, path)
    return path.stop - min(path.start if saved is None else saved, path.stop)


def _check_tokenizer(plan: Plan) -> None:
    """Raises DataError if the tokenizer is not the one of every version's shards."""
    _, identity = load_tokenizer(plan.config.data.tokenizer_path)
    for version, manifest in plan.manifests.items():
        found = manifest.tokenizer
        if (found.sha256, found.vocabulary, found.eos) != (identity.sha256, identity.vocabulary, identity.eos):
            raise DataError(
                f"version {version} was tokenized with {manifest.tokenizer.name} ({manifest.tokenizer.sha256[:12]}), "
                f"the config's tokenizer is {plan.config.data.tokenizer_path} ({identity.sha256[:12]}); "
                "give the one that made the shards, or build the version again under another name"
            )


def _check_model(plan: Plan, model: Any) -> None:
    """Raises ConfigError if the model has no room for the tokens or for the length of a row."""
    vocabulary = max((m.tokenizer.vocabulary for m in plan.manifests.values()), default=0)
    if model.config.vocab_size < vocabulary:
        raise ConfigError(
            f"the model has a vocabulary of {model.config.vocab_size}, the shards' tokenizer has {vocabulary} tokens; "
            f"give model.architecture.vocab_size {vocabulary} or more, or a checkpoint of this tokenizer"
        )
    reach, length = getattr(model.config, "max_position_embeddings", None), plan.config.data.sequence_length
    if reach is not None and reach < length:
        raise ConfigError(
            f"data.sequence_length {length} is beyond the model's {reach} positions; shorten it, or take another model"
        )


def _run_path(
    plan: Plan, path: TrainingPath, stop_request: StopRequest, console: TrainingConsole, clock: DeviceClock, train: bool
) -> bool:
    """One path under its lock; False if asked to stop before its end."""
    layout = plan.layout.path(path.name)
    with ExitStack() as held:
        ask_rank_zero(lambda: held.enter_context(path_lock(layout.directory)))
        ask_rank_zero(lambda: clear_leftovers(layout, lambda text: console.say(f"{path.name}: {text}")))
        ask_rank_zero(lambda: _claim(plan, path))
        origin = ask_rank_zero(lambda: origin_of(path, plan.layout, initial_checkpoint(plan.config.model)))
        missing = ask_rank_zero(lambda: missing_evaluations(plan, path))
        if origin.step >= path.stop and not missing:
            needed = plan.graph.branch_points(path.name)
            ask_rank_zero(lambda: pin_saved(layout, needed, origin.step, console.say))
            return True
        if origin.step < path.stop and not train:
            raise LineageError(f"{path.name} stands at step {origin.step} of {path.stop}; `lrps run` trains it first")
        stage = PathData(path.segments, _open_sources(plan, path), plan.config.batch.sequences)
        how = plan.config.engine
        model = build_model(plan.config.model, plan.config.seed, how.activation_checkpointing, how.attention)
        _check_model(plan, model)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        engine = Engine(plan.config, model, _document_end(plan))
        held.callback(engine.close)
        recorder = open_recorder(plan, path, engine, stage, console, clock) if engine.rank == 0 else None
        trainer = Trainer(plan, path, engine, stage, missing=missing, stop_request=stop_request, recorder=recorder)
        if recorder is None:
            return trainer.run(origin)
        with recorder, translate_lost_rank_errors():
            recorder.start(origin, attempt_facts(plan, path, engine, parameters))
            finished = trainer.run(origin)
            recorder.stop("complete" if finished else "interrupted")
            return finished


def _document_end(plan: Plan) -> int | None:
    """The token that ends a document where attention stays within documents; all shards have the same."""
    if plan.config.data.attention_across_documents:
        return None
    return next(manifest.tokenizer.eos for manifest in plan.manifests.values())


def _open_sources(plan: Plan, path: TrainingPath) -> dict[str, TokenSource]:
    """The sources that the path reads, cut to the rows that the plan counts."""
    sources: dict[str, TokenSource] = {}
    for name in path.sources:
        if name not in plan.manifests:
            version = next(source for source in plan.config.data.sources if source.name == name)
            raise DataError(
                f"{path.name} reads version {name}, which has no shards yet; run `{shards_command(version)}`"
            )
        sources[name] = TokenSource(
            plan.manifests[name],
            open_files(plan.config.data, name),
            sequence_length=plan.config.data.sequence_length,
            seed=plan.config.seed,
            order=plan.config.data.order,
            rows=plan.rows[name],
        )
    return sources


def _claim(plan: Plan, path: TrainingPath) -> None:
    """Check that the directory is this path's; write down what the path is, and again where it has grown.

    A path that never saved anything may still become another one.
    """
    path_json = plan.layout.path(path.name).path_json
    identity = with_initial_weights(plan.identity(path), plan.config.model)
    begun = saved_step(plan, path) is not None and path_json.exists()
    if not begun or check_identity(path_json, identity).stop < path.stop:
        atomic_write_json(path_json, identity)
