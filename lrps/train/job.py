"""The work of every rank of a process group: some paths of a plan, one after the other, parents before children.

One process group trains several paths because its start takes seconds, which is longer than a path of a small plan.
"""

from __future__ import annotations

import faulthandler
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

from lrps.base.clock import since_launch
from lrps.base.errors import DataError, LineageError
from lrps.base.locks import path_lock
from lrps.data.open_source import open_source
from lrps.data.stream import PathData, Source
from lrps.engine.deepspeed_engine import Engine, process_group
from lrps.engine.model import build_model
from lrps.engine.model_config import check_capacity
from lrps.engine.padding import padding_rows
from lrps.engine.ranks import ask_rank_zero, gather, rank, translate_lost_rank_errors
from lrps.engine.verdict import check_trainable
from lrps.launch.rendezvous import LAUNCHED_AT
from lrps.paths.graph import TrainingPath
from lrps.plan.plan import Plan
from lrps.plan.status import saved_step
from lrps.plan.tokenizer import check_tokenizer
from lrps.store.layout import PathLayout
from lrps.track.console import TrainingConsole
from lrps.track.trackers import open_trackers
from lrps.train.account import DeviceClock, Rate, open_account, usage_until
from lrps.train.evaluate import HeldoutSet
from lrps.train.path_start import PathStart, start_path
from lrps.train.recorder import Recorder, attempt_facts, lineage_facts
from lrps.train.signals import StopRequest
from lrps.train.trainer import Trainer


def run_job(plan: Plan, names: Sequence[str], *, train: bool = True) -> bool:
    """Start the process group and run the named paths in it; False if asked to stop before the end.

    train False evaluates only, and refuses a path that is not trained to its end.
    """
    launched = since_launch(os.environ.pop(LAUNCHED_AT, None))
    clock = DeviceClock(time.monotonic() - launched.seconds, launched.stated_seconds)
    stop_request = StopRequest()
    faulthandler.enable()  # A truncated shard or a failed disk under a mapped file kills the process (SIGBUS).
    collective_timeout = timedelta(minutes=plan.config.launch.collective_timeout_minutes)
    with process_group(collective_timeout, retain_memory=plan.config.engine.keep_host_memory):
        return run_paths(plan, names, stop_request, clock, train=train)


def run_paths(
    plan: Plan, names: Sequence[str], stop_request: StopRequest, clock: DeviceClock | None = None, *, train: bool = True
) -> bool:
    """Run the named paths in the order of the graph, on all ranks of the running process group.

    clock: device time since its start is booked on the first path; by default from now.
    """
    clock = clock or DeviceClock()
    paths = plan.named_paths(names)
    check_tokenizer(plan)
    steps = ask_rank_zero(lambda: sum(_steps_to_train(path, plan.layout.path(path.name)) for path in paths))
    with TrainingConsole(steps, quiet=rank() != 0) as console:
        if train and steps:
            file, begun = plan.layout.examination, plan.own_padding
            for note in ask_rank_zero(lambda: check_trainable(plan.config, file, begun=begun)):
                console.say(note)
        finished = all(
            not any(gather(stop_request.seen)) and _run_path(plan, path, stop_request, console, clock, train)
            for path in paths
        )
    gather(finished)  # Ranks end together: the launcher gives the others 30 seconds once the first one has ended.
    return finished


def _steps_to_train(path: TrainingPath, layout: PathLayout) -> int:
    saved = saved_step(layout)
    return path.stop - min(path.start if saved is None else saved, path.stop)


def _run_path(
    plan: Plan, path: TrainingPath, stop_request: StopRequest, console: TrainingConsole, clock: DeviceClock, train: bool
) -> bool:
    """Run one path under its lock; False if asked to stop before its end."""
    with ExitStack() as resources:

        def lock_and_start() -> PathStart:
            resources.enter_context(path_lock(plan.layout.path(path.name).directory))
            return start_path(plan, path, console.say, train=train)

        start = ask_rank_zero(lock_and_start)
        if start.complete:
            return True
        if start.steps_to_train and not train:
            raise LineageError(f"{path.name} is at step {start.origin.step} of {path.stop}; `lrps run` trains it first")
        sources = open_sources(plan, path)
        data = PathData(path.segments, sources, plan.config.batch.sequences)
        model = _build(plan, path, console)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        engine = Engine(plan.config, model, _document_end(plan))
        resources.callback(engine.close)
        recorder = _open_recorder(plan, path, engine, data, console, clock) if engine.rank == 0 else None
        trainer = Trainer(
            plan.config,
            path,
            plan.layout,
            engine,
            data,
            start,
            training_sha256=plan.training_sha256,
            training_digests=plan.training_digests,
            heldout=_heldout_sets(plan),
            stop_request=stop_request,
            recorder=recorder,
        )
        if recorder is None:
            return trainer.run()
        with recorder, translate_lost_rank_errors():
            recorder.start(start.origin, attempt_facts(plan, path, engine, parameters))
            finished = trainer.run()
            recorder.stop("complete" if finished else "interrupted")
            return finished


def _build(plan: Plan, path: TrainingPath, console: TrainingConsole) -> Any:
    """Build the model of a path, say which padding rows it does not train, and check that it is large enough."""
    settings = plan.config.engine
    model = build_model(
        plan.config.model,
        plan.config.seed,
        settings.activation_checkpointing,
        settings.attention,
        own_padding=plan.own_padding,
    )
    for name, row in padding_rows(model).items():
        console.say(
            f"{path.name}: row {row} of {name} is not trained: the run was begun when padding rows were kept; a "
            "plan with another `name` trains it"
        )
    check_capacity(model.config, plan.manifests, plan.config.data.sequence_length)
    return model


def _document_end(plan: Plan) -> int | None:
    """Return the EOS token if attention is limited to documents, else None. All shards have the same one."""
    if plan.config.data.attention_across_documents:
        return None
    return next(manifest.tokenizer.eos for manifest in plan.manifests.values())


def _heldout_sets(plan: Plan) -> dict[str, HeldoutSet]:
    data = plan.config.data
    return {version: HeldoutSet(source, data, plan.heldout_rows(version)) for version, source in plan.heldout.items()}


def open_sources(plan: Plan, path: TrainingPath) -> dict[str, Source]:
    """Open the sources that the path reads, limited to the sequences that the plan counts.

    Raises DataError for a source without shards.
    """
    data = plan.config.data
    for shards in data.shard_sets:
        if shards.version in path.sources and shards.name not in plan.manifests:
            raise DataError(f"{path.name} reads version {shards.name}, which has no shards yet; run `{shards.command}`")
    return {
        name: open_source(plan.sources[name], data, seed=plan.config.seed, order=data.order) for name in path.sources
    }


def _open_recorder(
    plan: Plan, path: TrainingPath, engine: Engine, data: PathData, console: TrainingConsole, clock: DeviceClock
) -> Recorder:
    """Open the recorder of a new attempt, with the trackers that the config names."""
    config, layout = plan.config, plan.layout.path(path.name)
    usage = usage_until(plan, path, data)
    rate = Rate(config.tokens_per_step, plan.costs.flops_per_token, engine.world_size)
    lineage = lineage_facts(path, {name: plan.sources[name] for name in path.sources}, config.tokens_per_step)
    return Recorder(
        path,
        layout,
        console,
        open_account(path, layout.ledger, rate, clock, usage),
        log_every_steps=config.track.log_every_steps,
        trackers=open_trackers(plan, path, lineage=lineage, devices=engine.world_size, say=console.say),
    )
