"""The scores of models on tasks, read from the run's own ledger: one record per model and task. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from lrps.base.errors import LrpsError
from lrps.config.evaluating import EvaluationConfig
from lrps.ledger.reader import RAW, read_ledger
from lrps.ledger.records import Record
from lrps.plan.plan import Plan
from lrps.plan.released_state import checkpoint_digest
from lrps.plan.tasks import pair_digest, task_digest, tasks_of

KIND = "score"
"""Kind of the ledger records."""
ROUGE_L = "rouge_l"
"""Metric of instruction pairs, in points."""


@dataclass(frozen=True)
class MetricResult:
    """Value of one metric of a task."""

    value: float
    """Mean over the examples."""
    stderr: float | None
    """Standard error of the mean; null if it is unknown."""
    higher_is_better: bool
    """True if a higher value is a better one."""


@dataclass(frozen=True)
class Score:
    """The results of a model on a task. checkpoint: digest of the state; task_sha256: digest of the task."""

    path: str
    step: int
    checkpoint: str
    task: str
    task_sha256: str
    results: Mapping[str, MetricResult]
    """Mapping from metric to result; for a group of tasks from TASK/METRIC."""
    examples: int
    """Number of examples."""
    form: str = RAW
    """Form of the weights."""

    def facts(self) -> dict[str, Any]:
        """Return the facts of the ledger record; raw weights have no fact `form`."""
        left_out = ("step", "form") if self.form == RAW else ("step",)
        return {key: value for key, value in asdict(self).items() if key not in left_out}


def scores(records: Iterable[Record]) -> list[Score]:
    """Return all scores in the records of a run's own ledger, oldest first."""
    return [_score(record) for record in records if record.kind == KIND]


def _score(record: Record) -> Score:
    facts = record.facts
    results = {metric: MetricResult(**values) for metric, values in facts["results"].items()}
    names = ("path", "checkpoint", "task", "task_sha256")
    named = {name: facts[name] for name in names}
    form = facts.get("form", RAW)
    return Score(step=record.step, results=results, examples=facts["examples"], form=form, **named)


def run_scores(plan: Plan) -> list[Score]:
    """Return the scores of a run. Raises LedgerError for a ledger that was changed."""
    return scores(read_ledger(plan.layout.ledger)) if plan.layout.ledger.is_dir() else []


ScoresOfStates = Mapping[tuple[str, int, str], Mapping[str, Score]]
"""Newest scores by (path, step, form of the weights), then by task."""


def newest_scores(plan: Plan) -> dict[tuple[str, int, str], dict[str, Score]]:
    """Return (path, step, form) -> task -> newest score, of the config's tasks and the states of the run.

    If a task was changed, only scores of one form of it count, the config's or else the newest, so that numbers in one
    table are comparable. If a state exists on disk, only scores of that very state count; if only ledgers were copied,
    all do.
    """
    named = tasks_of(plan.config.evaluation)
    if not named:
        return {}
    known = run_scores(plan)
    forms = _forms(plan.config.evaluation, known)
    found: dict[tuple[str, int, str], dict[str, Score]] = {}
    for score in known:
        if score.task in named and score.task_sha256 == forms[score.task] and _is_here(plan, score):
            found.setdefault((score.path, score.step, score.form), {})[score.task] = score
    return found


def _forms(evaluation: EvaluationConfig, known: Iterable[Score]) -> dict[str, str]:
    """Return task -> digest of the form that counts. Files are read only of tasks that were scored in several forms."""
    scored: dict[str, list[str]] = {}
    for score in known:
        scored.setdefault(score.task, []).append(score.task_sha256)
    return {
        task: own if len({*forms}) > 1 and (own := _own_form(evaluation, task)) in forms else forms[-1]
        for task, forms in scored.items()
    }


def _own_form(evaluation: EvaluationConfig, task: str) -> str | None:
    """Return the digest of a task as in the config; None if it has no such task, or if its files are missing."""
    with suppress(LrpsError):
        for pairs in evaluation.tasks:
            if pairs.name == task:
                return pair_digest(pairs)
        if evaluation.lm_eval is not None and task in evaluation.lm_eval.tasks:
            return task_digest(evaluation.lm_eval, task)
    return None


def _is_here(plan: Plan, score: Score) -> bool:
    """Return False if the state that was scored is known not to be the path's state of that step."""
    path = plan.graph.by_name.get(score.path)
    if path is None or not plan.layout.path(path.name).ledger.is_dir():
        return False  # It belongs to another plan, or was deleted since.
    return checkpoint_digest(plan, path.name, score.step, score.form) in (None, score.checkpoint)
