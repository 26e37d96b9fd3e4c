"""Scoring of released models and probes on tasks: each missing result is computed and booked in the ledger.

A state is exported to the directory of `lrps export` and kept there. After an interruption the next call continues
with the first missing result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrps.base.foreign_json import read_json
from lrps.config.evaluating import EvaluationConfig
from lrps.evaluation.answers import score_answers
from lrps.evaluation.harness import Harness
from lrps.evaluation.kept_answers import answers_file, read_answers, write_answers
from lrps.export.states import PathState, chosen_states, released_state
from lrps.ledger.writer import book_event
from lrps.plan.plan import Plan
from lrps.plan.released_state import checkpoint_digest
from lrps.plan.scores import KIND, MetricResult, Score, run_scores
from lrps.plan.tasks import pair_digest, task_digest
from lrps.store.layout import RELEASE_FACTS

Report = Callable[[str], None]
"""Callback that gets a line of progress."""


@dataclass(frozen=True)
class ScoringJob:
    """A released state or the end of a probe, the digest of its checkpoint, and the tasks on which it has no score."""

    state: PathState
    checkpoint: str
    missing: tuple[str, ...]
    scored: tuple[str, ...] = ()
    """Those of `missing` that have a score, and of which only the answers are missing."""


def task_digests(evaluation: EvaluationConfig) -> dict[str, str]:
    """Return task -> SHA-256 of its files and settings.

    Raises DataError for invalid pairs, ConfigError for a missing file or package.
    """
    digests = {task.name: pair_digest(task) for task in evaluation.tasks}
    settings = evaluation.lm_eval
    return digests | ({task: task_digest(settings, task) for task in settings.tasks} if settings else {})


def released_states(plan: Plan, paradigms: Collection[str] = ()) -> tuple[tuple[PathState, ...], tuple[str, ...]]:
    """Return the distinct trained states that paradigms release, oldest version first, and the paths not trained yet.

    paradigms: names; all by default.
    """
    versions = [increment.version for increment in plan.increments]
    chosen = {r for p in plan.graph.paradigms if not paradigms or p.name in paradigms for r in p.releases}
    states, missing = [], []
    for release in sorted(chosen, key=lambda r: (versions.index(r.version), r.path)):
        if checkpoint_digest(plan, release.path, release.step, release.form) is None:
            missing.append(release.path)
        else:
            states.append(released_state(plan, release))
    return tuple(dict.fromkeys(states)), tuple(missing)


def scored_states(plan: Plan, paradigms: Collection[str] = ()) -> tuple[tuple[PathState, ...], tuple[str, ...]]:
    """Return the trained states that are scored, and the paths not trained yet, as `released_states` does.

    Without a choice of paradigms they are followed by the last states of probes and of their controls.
    """
    states, missing = released_states(plan, paradigms)
    if paradigms:
        return states, missing
    ends = dict.fromkeys(path for probe in plan.graph.probes for path in probe.paths)
    trained = [path for path in ends if checkpoint_digest(plan, path.name, path.stop) is not None]
    of_probes = (state for path in trained for state in chosen_states(plan, [path.name], step=path.stop))
    untrained = (path.name for path in ends if path not in trained)
    return tuple(dict.fromkeys((*states, *of_probes))), (*missing, *untrained)


def scoring_jobs(
    plan: Plan, states: Sequence[PathState], digests: Mapping[str, str], *, answers: bool = False
) -> tuple[ScoringJob, ...]:
    """Return the missing tasks of every state, without states that have all scores.

    answers: count a task of pairs as missing, too, if its answers were not kept.
    """
    pairs = {task.name for task in plan.config.evaluation.tasks} if answers else set()
    done = {(score.checkpoint, score.form, score.task, score.task_sha256) for score in run_scores(plan)}
    found = []
    for state in states:
        checkpoint = checkpoint_digest(plan, state.path.name, state.step, state.form)
        assert checkpoint is not None, "a trained state"
        known = {(task, digest) for made, form, task, digest in done if (made, form) == (checkpoint, state.form)}
        scored = tuple(
            task
            for task, digest in digests.items()
            if (task, digest) in known
            and task in pairs
            and not answers_file(plan, checkpoint, state.form, digest).exists()
        )
        missing = tuple(task for task, digest in digests.items() if (task, digest) not in known or task in scored)
        if missing:
            found.append(ScoringJob(state, checkpoint, missing, scored))
    return tuple(found)


def score_models(plan: Plan, todo: Sequence[ScoringJob], digests: Mapping[str, str], report: Report) -> None:
    """Score every job's state on its tasks, and book each result in the ledger before the next one.

    report: called with a line for every result, and during long generations. Raises an LrpsError for a state that
    cannot be exported or loaded, or for a task that fails.
    """
    evaluation = plan.config.evaluation
    harness = Harness(evaluation.lm_eval, evaluation.batch_sequences) if evaluation.lm_eval else None
    if harness is not None:
        harness.check()
    for number, job in enumerate(todo, 1):
        _score_model(plan, job, digests, harness, _prefixed(f"[{number}/{len(todo)}] ", report))


def kept_answers(plan: Plan, states: Sequence[PathState], digests: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield the kept answers of states on pairs, each as a record with path, step, task, input, output and answer.

    Raises DataError for a damaged file. Answers that were not kept are left out.
    """
    for state in states:
        checkpoint = checkpoint_digest(plan, state.path.name, state.step, state.form)
        assert checkpoint is not None, "a trained state"
        for task in plan.config.evaluation.tasks:
            file = answers_file(plan, checkpoint, state.form, digests[task.name])
            yield from read_answers(file) if file.exists() else ()


def _prefixed(prefix: str, report: Report) -> Report:
    return lambda text: report(prefix + text)


def _score_model(
    plan: Plan, job: ScoringJob, digests: Mapping[str, str], harness: Harness | None, report: Report
) -> None:
    from lrps.rehearsal.generator import HfGenerator

    pairs = {task.name: task for task in plan.config.evaluation.tasks}
    path, step = job.state.path.name, job.state.step
    began = time.monotonic()
    directory = _exported(plan, job)
    generator = HfGenerator(directory, plan.config.evaluation.batch_sequences)
    for task in job.missing:
        where = f"{path} ({', '.join(job.state.versions) or f'step {step}'}) on {task}"
        if task in pairs:
            results, answers = score_answers(generator, pairs[task], _prefixed(f"{where}: ", report))
            examples = len(answers)
            about = {"path": path, "step": step, "form": job.state.form, "versions": job.state.versions, "task": task}
            write_answers(answers_file(plan, job.checkpoint, job.state.form, digests[task]), about, answers)
        else:
            assert harness is not None, "lm-eval's task"
            results, examples = harness.score(generator.model, directory, task)
        # Measured from the previous result, so that loading a model is booked with its first result.
        now = time.monotonic()
        score = Score(path, step, job.checkpoint, task, digests[task], results, examples, job.state.form)
        if task not in job.scored:
            book_event(plan.layout.ledger, KIND, step, now - began, device=generator.device.type, **score.facts())
        report(f"{where}: {_results_text(results)} ({examples} examples, {now - began:.0f} s)")
        began = now


def _exported(plan: Plan, job: ScoringJob) -> Path:
    """Export the model unless an export in any form exists; return its directory."""
    from lrps.export.release import ExportFormat, export_state

    directory, form = (
        job.state.directory(plan.layout.path(job.state.path.name)),
        ExportFormat(plan.config.engine.precision),
    )
    try:
        exported = read_json(directory / RELEASE_FACTS)["state"]
        if exported["checkpoint"] == job.checkpoint:
            form = ExportFormat(exported["dtype"], exported["max_shard_bytes"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # No export, or one that export_state refuses.
    return export_state(plan, job.state, directory, form).directory


def _results_text(results: Mapping[str, MetricResult]) -> str:
    return ", ".join(f"{metric} {result.value:.4g}" for metric, result in results.items())
