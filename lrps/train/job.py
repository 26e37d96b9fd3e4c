"""The work of every rank of a process group: some paths of a plan, one after the other, parents before children.

One process group trains several paths because its start takes seconds, which is longer than a path of a small plan.
"""

from __future__ import annotations

import faulthandler
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from lrps.base.clock import since_launch
from lrps.base.errors import BudgetError, CallbackStopError, DataError, NonFiniteLoss, SpikeError
from lrps.base.locks import path_lock
from lrps.data.open_source import open_source
from lrps.data.stream import PathData, Source
from lrps.engine.deepspeed_engine import Engine, placement, process_group
from lrps.engine.ranks import ask_rank_zero, gather, rank, translate_lost_rank_errors, world_size
from lrps.launch.process_group import SUPERVISED
from lrps.launch.rendezvous import LAUNCHED_AT
from lrps.ledger.reader import read_ledger
from lrps.ledger.totals import total
from lrps.paths.graph import TrainingPath
from lrps.paths.path_digest import path_digest
from lrps.plan.failure import failure_facts
from lrps.plan.plan import Plan
from lrps.plan.recovery import after_failure, after_spike
from lrps.plan.status import saved_step
from lrps.plan.tokenizer import check_tokenizer
from lrps.store.layout import PathLayout
from lrps.track.console import TrainingConsole
from lrps.track.trackers import open_trackers
from lrps.track.webhook import Webhook
from lrps.train.account import DeviceClock, Rate, open_account, usage_until
from lrps.train.attempt_start import AttemptStart
from lrps.train.callbacks.attempt import run_attempt
from lrps.train.callbacks.attempt_callbacks import open_callbacks
from lrps.train.evaluate import HeldoutSet
from lrps.train.failed_start import recording_failed_start
from lrps.train.path_average import average_rule
from lrps.train.path_models import PathModels
from lrps.train.path_notices import PathNotices
from lrps.train.path_start import PathStart, check_origin, pin_saved, start_path
from lrps.train.plan_progress import PlanProgress, plan_progress
from lrps.train.plugin_check import check_plugins
from lrps.train.recorder import Recorder, attempt_facts, lineage_facts
from lrps.train.saved_states import SavedSteps, start_with_saved_states
from lrps.train.signals import StopRequest
from lrps.train.step_profiler import StepProfiler
from lrps.train.trainer import Trainer
from lrps.train.watches.branch_watch import record_forecast
from lrps.train.watches.budget_watch import BudgetWatch

_SPENT = "the budget is spent, and everything is saved; `lrps run` says what is needed"


@dataclass(frozen=True)
class _Group:
    """Settings and connections that the paths of a process group share."""

    models: PathModels
    stop_request: StopRequest
    clock: DeviceClock
    console: TrainingConsole
    webhook: Webhook
    profiler: StepProfiler
    begin: Callable[..., PathStart]
    """Function `start_path` or `start_with_saved_states` of the plan; rank 0 calls it, under the lock of the path."""
    budget: BudgetWatch | None
    """On rank 0, if there is a budget."""


def run_job(
    plan: Plan,
    names: Sequence[str],
    stop_request: StopRequest | None = None,
    *,
    train: bool = True,
    saved_steps: SavedSteps | None = None,
    profile: int | None = None,
) -> bool:
    """Start the process group and run the named paths in it; False if asked to stop before the end.

    train False evaluates only, and refuses a path that is not trained to its end, unless saved_steps names the states
    to evaluate. profile: number of steps of which rank 0 writes a trace. Raises BudgetError on all ranks if the budget
    is spent before the end, once everything is saved.
    """
    launched = since_launch(os.environ.pop(LAUNCHED_AT, None))
    clock = DeviceClock(time.monotonic() - launched.seconds, launched.stated_seconds)
    stop_request = stop_request or StopRequest()
    faulthandler.enable()  # A truncated shard or a failed disk under a mapped file kills the process (SIGBUS).
    collective_timeout = timedelta(minutes=plan.config.launch.collective_timeout_minutes)
    keep = plan.config.engine.keep_host_memory
    with process_group(collective_timeout, retain_memory=keep, is_stopped=lambda: stop_request.seen):
        return run_paths(plan, names, stop_request, clock, train=train, saved_steps=saved_steps, profile=profile)


def run_paths(
    plan: Plan,
    names: Sequence[str],
    stop_request: StopRequest,
    clock: DeviceClock | None = None,
    *,
    train: bool = True,
    saved_steps: SavedSteps | None = None,
    profile: int | None = None,
) -> bool:
    """Run the named paths in the order of the graph, on all ranks of the running process group.

    clock: device time since its start is booked on the first path; by default from now. train, saved_steps,
    profile: as in `run_job`, which also says when BudgetError is raised.
    """
    clock = clock or DeviceClock()
    # They decide which collectives ranks take part in, and ranks look at the run directory at different times.
    plan = plan.following(ask_rank_zero(lambda: plan.conventions))
    paths = plan.named_paths(names)
    check_plugins(plan.config, paths)
    check_tokenizer(plan)
    steps = ask_rank_zero(lambda: sum(_steps_to_train(path, plan.layout.path(path.name)) for path in paths))
    progress = ask_rank_zero(lambda: plan_progress(plan, clock, world_size()), PlanProgress | None)
    shown = None if progress is None else progress.text
    all_steps, quiet = steps if train else 0, rank() != 0
    with TrainingConsole(all_steps, quiet, progress=shown) as console, _webhook(plan, console) as webhook:
        models = PathModels(plan, console.say)
        if train and steps:
            ask_rank_zero(models.examine)
        models.check_shared_rows(partial(Engine, conventions=plan.conventions))
        budget = BudgetWatch.of(plan) if rank() == 0 else None
        begin = partial(start_path, plan, say=console.say, train=train)
        if saved_steps is not None:
            begin = partial(start_with_saved_states, plan, say=console.say, steps=saved_steps)
        profiler = StepProfiler(profile if rank() == 0 else None, console.say)
        group = _Group(models, stop_request, clock, console, webhook, profiler, begin, budget)
        finished, stopped = _run_each(plan, paths, group)
        spent = budget is not None and budget.seen and not finished
        if spent:
            console.say(
                f"{plan.config.name}: the budget is spent, and everything is saved; `lrps run` says what is needed"
            )
            webhook.notify("budget", {"path": ", ".join(names)})
    # Ranks end together: the launcher gives the others 30 seconds once the first one has ended.
    if any(gather(spent)):
        raise BudgetError(_SPENT)
    if stopped:
        raise CallbackStopError("\n".join(stopped))
    return finished


def _run_each(plan: Plan, paths: Sequence[TrainingPath], group: _Group) -> tuple[bool, list[str]]:
    """Run paths until asked to stop; return whether none was, and why callbacks have stopped some of them.

    A path that a callback stops ends only what descends from it.
    """
    stopped: dict[str, str] = {}
    for path in paths:
        if {each.name for each in plan.graph.lineage(path)} & stopped.keys():
            continue
        if _stops(group.stop_request, group.budget):
            return False, list(stopped.values())
        try:
            if not _run_path(plan, path, group):
                return False, list(stopped.values())
        except CallbackStopError as stop:
            stopped[path.name] = str(stop)
    return True, list(stopped.values())


def _webhook(plan: Plan, console: TrainingConsole) -> Webhook:
    """Return the webhook of rank 0; on other ranks, one that sends nothing.

    `lrps run` reports the failures and the budget of the process groups that it supervises: it also sees a kill.
    """
    address = plan.config.track.notify_address if rank() == 0 else None
    return Webhook(plan.config.name, address, console.say, ("failure", "budget") if SUPERVISED in os.environ else ())


@contextmanager
def _reporting(plan: Plan, path: TrainingPath, webhook: Webhook) -> Iterator[None]:
    """Report an error inside the context, and raise it again."""
    try:
        yield
    except Exception as error:
        if rank() == 0:
            webhook.notify("failure", failure_facts(plan, path.name, type(error).__name__))
        raise


def _stops(stop_request: StopRequest, budget: BudgetWatch | None) -> bool:
    """Return True on all ranks if any of them was asked to stop, or if the budget is spent."""
    return any(gather(stop_request.seen or (budget is not None and budget.is_spent())))


def _steps_to_train(path: TrainingPath, layout: PathLayout) -> int:
    saved = saved_step(layout)
    return path.stop - min(path.start if saved is None else saved, path.stop)


def _run_path(plan: Plan, path: TrainingPath, group: _Group) -> bool:
    """Run one path under its lock; False if asked to stop before its end."""
    with _reporting(plan, path, group.webhook), _naming_what_follows(plan, path), ExitStack() as resources:
        layout = plan.layout.path(path.name)
        ask_rank_zero(lambda: resources.enter_context(path_lock(layout.directory)))
        attempt = AttemptStart(lambda damaged: group.begin(path, damaged=damaged))
        start = attempt.find()
        if start.complete:
            ask_rank_zero(lambda: pin_saved(layout, start.branch_points, start.origin.step, group.console.say))
            return True
        data = PathData(path.segments, open_sources(plan, path), plan.config.batch.sequences)
        open_recorder = partial(_open_recorder, plan, path, data, group)
        with recording_failed_start(plan, path, start, open_recorder):
            model = group.models.build(path, placement(plan.config), loaded=start.first_state.checkpoint is not None)
            rule = average_rule(plan.config, path)
            engine = Engine(plan.config, model, _document_end(plan), rule, conventions=plan.conventions)
            resources.callback(engine.close)
            resources.enter_context(group.profiler.tracing(layout.profile))
            digests, parent = plan.training_digests, start.parent_digest
            check = partial(check_origin, path=path, data=data, training_digests=digests, parent_digest=parent)
            start = attempt.load(engine, start, check)
        recorder = open_recorder() if engine.rank == 0 else None
        callbacks = open_callbacks(plan.config, engine.rank)
        trainer = Trainer(
            plan.config,
            path,
            plan.layout,
            engine,
            data,
            start,
            training_sha256=plan.training_sha256,
            heldout=_heldout_sets(plan),
            stop_request=group.stop_request,
            recorder=recorder,
            callbacks=callbacks,
            budget=group.budget,
            before_step=group.profiler.before_step,
        )
        with ExitStack() as records:
            if recorder is not None:
                records.enter_context(recorder)
                records.enter_context(translate_lost_rank_errors())
                digest = path_digest(path, start.origin.step, start.parent_digest)
                facts = attempt_facts(plan, path, start.origin, digest, engine.device_name, engine)
                recorder.start(start.origin, facts, start.stop)
                record_forecast(plan, path, start, group.console.say)
            return run_attempt(trainer)


@contextmanager
def _naming_what_follows(plan: Plan, path: TrainingPath) -> Iterator[None]:
    """Add to the error of a failed step what the same command does next, or raise RepeatedFailureError.

    To that of a spike it adds what a person can choose from. Collective: a failed step is raised on all ranks, and the
    ledger is closed by then.
    """
    try:
        yield
    except NonFiniteLoss as failure:
        follows = ask_rank_zero(lambda: after_failure(path, plan.graph, plan.layout))
        raise NonFiniteLoss(f"{path.name}: {failure}; {follows}", at=failure.at, cause=failure.cause) from None
    except SpikeError as spike:
        step = spike.at or 0
        choices = ask_rank_zero(lambda: after_spike(path, plan.layout, step))
        raise SpikeError(f"{path.name}: {spike}. {choices}", at=step) from None


def _document_end(plan: Plan) -> int | None:
    """Return the EOS token if attention is limited to documents, else None. All shards have the same one."""
    if plan.config.data.attention_across_documents:
        return None
    return next(manifest.tokenizer.eos for manifest in plan.manifests.values())


def _heldout_sets(plan: Plan) -> dict[str, HeldoutSet]:
    data, watched = plan.config.data, plan.config.evaluation.main_max_rows
    sets = plan.all_heldout.items()
    return {name: HeldoutSet(source, data, plan.heldout_rows(name), watched) for name, source in sets}


def open_sources(plan: Plan, path: TrainingPath) -> dict[str, Source]:
    """Open the sources that the path reads, limited to the sequences that the plan counts.

    Raises DataError for a source without shards.
    """
    data = plan.config.data
    for shards in data.shard_sets:
        if shards.version in path.sources and shards.name not in plan.manifests:
            raise DataError(f"{path.name} reads version {shards.name}, which has no shards yet; run `{shards.command}`")
    seed = plan.config.order_seed
    return {name: open_source(plan.sources[name], data, seed=seed, order=data.order) for name in path.sources}


def _open_recorder(plan: Plan, path: TrainingPath, data: PathData, group: _Group) -> Recorder:
    """Open the recorder of a new attempt, with the trackers that the config names."""
    config, layout, console = plan.config, plan.layout.path(path.name), group.console
    usage = usage_until(plan, path, data)
    rate = Rate(config.tokens_per_step, plan.costs.flops_per_token, world_size())
    before = total(read_ledger(layout.ledger, heartbeats=False))
    lineage = lineage_facts(path, {name: plan.sources[name] for name in path.sources}, config.tokens_per_step)
    return Recorder(
        path,
        layout,
        console,
        open_account(path, layout.ledger, rate, group.clock, usage),
        log_every_steps=config.track.log_every_steps,
        trackers=open_trackers(plan, path, lineage=lineage, devices=world_size(), say=console.say),
        notices=PathNotices(plan, path, group.webhook.notify, before.passed_by_guard, before.current_step),
    )
