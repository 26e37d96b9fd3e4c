"""Scores released models on tasks, one result a model and task, only what is missing; results go into the run's ledger.

A release is exported to where `lrps export` writes it, and stays there. Stopped at any moment, the next call goes on
with the first result that is missing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lrps.config.evaluating import EvaluationConfig
from lrps.evaluation.answers import score_answers
from lrps.evaluation.harness import Harness
from lrps.export.directory import FACTS
from lrps.export.states import PathState
from lrps.ledger.writer import book_event
from lrps.plan.plan import Plan
from lrps.plan.scores import KIND, Result, Score, checkpoint_digest, run_scores
from lrps.plan.tasks import pair_digest, task_digest

Tell = Callable[[str], None]


@dataclass(frozen=True)
class ScoringJob:
    """A released state and the tasks that it has no score on."""

    state: PathState
    checkpoint: str
    missing: tuple[str, ...]


def task_digests(evaluation: EvaluationConfig) -> dict[str, str]:
    """task -> SHA-256 of all that makes it: its files, and its settings.

    Raises DataError for pairs that are none, ConfigError for what is not installed or not there.
    """
    digests = {task.name: pair_digest(task) for task in evaluation.tasks}
    settings = evaluation.lm_eval
    return digests | ({task: task_digest(settings, task) for task in settings.tasks} if settings else {})


def released_states(plan: Plan, paradigms: Collection[str] = ()) -> tuple[tuple[PathState, ...], tuple[str, ...]]:
    """The trained states that paradigms release, each once, oldest version first; and the paths that are still to be
    trained. paradigms: all by default."""
    versions = [increment.version for increment in plan.increments]
    chosen = {r for p in plan.graph.paradigms if not paradigms or p.name in paradigms for r in p.releases}
    states, missing = [], []
    for release in sorted(chosen, key=lambda r: (versions.index(r.version), r.path)):
        path = plan.graph.by_name[release.path]
        if checkpoint_digest(plan, path, release.step) is None:
            missing.append(release.path)
        else:
            states.append(PathState(path, release.step, (release.version,)))
    return tuple(states), tuple(missing)


def scoring_jobs(plan: Plan, states: Sequence[PathState], digests: Mapping[str, str]) -> tuple[ScoringJob, ...]:
    """What is missing of every state; one that has all is left out."""
    done = {(score.checkpoint, score.task, score.task_sha256) for score in run_scores(plan)}
    found = []
    for state in states:
        checkpoint = checkpoint_digest(plan, state.path, state.step)
        assert checkpoint is not None, "a trained state"
        missing = tuple(task for task, digest in digests.items() if (checkpoint, task, digest) not in done)
        if missing:
            found.append(ScoringJob(state, checkpoint, missing))
    return tuple(found)


def score_models(plan: Plan, todo: Sequence[ScoringJob], digests: Mapping[str, str], tell: Tell) -> None:
    """Score every job's state on its tasks; each result is in the ledger before the next one begins.

    tell: gets a line for every result, and for long generations in between. Raises an LrpsError for a state that
    cannot be exported or loaded, or a task that fails.
    """
    evaluation = plan.config.evaluation
    harness = Harness(evaluation.lm_eval, evaluation.batch_sequences) if evaluation.lm_eval else None
    if harness is not None:
        harness.check()
    for number, job in enumerate(todo, 1):
        _score_model(plan, job, digests, harness, _behind(f"[{number}/{len(todo)}] ", tell))


def _behind(words: str, tell: Tell) -> Tell:
    return lambda text: tell(words + text)


def _score_model(plan: Plan, job: ScoringJob, digests: Mapping[str, str], harness: Harness | None, tell: Tell) -> None:
    from lrps.rehearsal.generator import HfGenerator

    pairs = {task.name: task for task in plan.config.evaluation.tasks}
    path, step = job.state.path.name, job.state.step
    began = time.monotonic()
    directory = _exported(plan, job)
    generator = HfGenerator(directory, plan.config.evaluation.batch_sequences)
    for task in job.missing:
        where = f"{path} ({', '.join(job.state.versions)}) on {task}"
        if task in pairs:
            results, examples = score_answers(generator, pairs[task], _behind(f"{where}: ", tell))
        else:
            assert harness is not None, "lm-eval's task"
            results, examples = harness.score(generator.model, directory, task)
        # From the end of the result before: what it takes to load a model is booked on its first one.
        now = time.monotonic()
        score = Score(path, step, job.checkpoint, task, digests[task], results, examples)
        book_event(plan.layout.ledger, KIND, step, now - began, device=generator.device.type, **score.facts())
        tell(f"{where}: {_told(results)} ({examples} examples, {now - began:.0f} s)")
        began = now


def _exported(plan: Plan, job: ScoringJob) -> Path:
    """The directory of the released model, which is written unless it is there, in whatever form."""
    from lrps.export.release import ExportFormat, export_state

    directory, form = (
        job.state.directory(plan.layout.path(job.state.path.name)),
        ExportFormat(plan.config.engine.precision),
    )
    try:
        there = json.loads((directory / FACTS).read_text(encoding="utf-8"))["state"]
        if there["checkpoint"] == job.checkpoint:
            form = ExportFormat(there["dtype"], there["max_shard_bytes"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # none, or one that export_state refuses
    return export_state(plan, job.state, directory, form).directory


def _told(results: Mapping[str, Result]) -> str:
    return ", ".join(f"{metric} {result.value:.4g}" for metric, result in results.items())
