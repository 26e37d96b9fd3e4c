"""What models scored on tasks, as the run's own ledger holds it: one record a model and task. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from lrps.base.errors import CheckpointError, LrpsError
from lrps.config.evaluating import EvaluationConfig
from lrps.ledger.reader import read_ledger
from lrps.ledger.records import Record
from lrps.paths.graph import TrainingPath
from lrps.plan.plan import Plan
from lrps.plan.tasks import pair_digest, task_digest, tasks_of
from lrps.store.checkpoints import find

KIND = "score"
"""Of the records."""
ROUGE_L = "rouge_l"
"""The metric of instruction pairs, in points."""


@dataclass(frozen=True)
class Result:
    """Value of one metric of a task."""

    value: float
    """Mean over the examples."""
    stderr: float | None
    """Standard error of the mean; null if it is unknown."""
    higher_is_better: bool
    """True if a higher value is a better one."""


@dataclass(frozen=True)
class Score:
    """What a model scored on a task. checkpoint: digest of the state; task_sha256: of all that makes the task."""

    path: str
    step: int
    checkpoint: str
    task: str
    task_sha256: str
    results: Mapping[str, Result]
    """metric -> result; of a group of tasks TASK/METRIC."""
    examples: int

    def facts(self) -> dict[str, Any]:
        """What the record holds beside the step."""
        return {key: value for key, value in asdict(self).items() if key != "step"}


def scores(records: Iterable[Record]) -> list[Score]:
    """All scores of a run's own ledger, oldest first."""
    return [_score(record) for record in records if record.kind == KIND]


def _score(record: Record) -> Score:
    facts = record.facts
    results = {metric: Result(**values) for metric, values in facts["results"].items()}
    names = ("path", "checkpoint", "task", "task_sha256")
    return Score(step=record.step, results=results, examples=facts["examples"], **{name: facts[name] for name in names})


def run_scores(plan: Plan) -> list[Score]:
    """The scores of a run. Raises LedgerError for a ledger that was changed."""
    return scores(read_ledger(plan.layout.ledger)) if plan.layout.ledger.is_dir() else []


def newest_scores(plan: Plan) -> dict[tuple[str, int], dict[str, Score]]:
    """(path, step) -> task -> score, of the tasks that the config names and the states that the run holds.

    Of a task that was changed, only what was scored on one form of it, the config's or else the newest: other numbers
    would stand beside it in one table. Where a state is at hand, only scores of that state; they stay where only
    ledgers were copied.
    """
    named = tasks_of(plan.config.evaluation)
    if not named:
        return {}
    known = run_scores(plan)
    forms = _forms(plan.config.evaluation, known)
    found: dict[tuple[str, int], dict[str, Score]] = {}
    for score in known:
        if score.task in named and score.task_sha256 == forms[score.task] and _is_here(plan, score):
            found.setdefault((score.path, score.step), {})[score.task] = score
    return found


def _forms(evaluation: EvaluationConfig, known: Iterable[Score]) -> dict[str, str]:
    """task -> the form that is shown. Files are read only of tasks that were scored on several."""
    scored: dict[str, list[str]] = {}
    for score in known:
        scored.setdefault(score.task, []).append(score.task_sha256)
    return {
        task: own if len({*forms}) > 1 and (own := _own_form(evaluation, task)) in forms else forms[-1]
        for task, forms in scored.items()
    }


def _own_form(evaluation: EvaluationConfig, task: str) -> str | None:
    """Digest of a task as the config has it; None if it has none, or if its files are not here."""
    with suppress(LrpsError):
        for pairs in evaluation.tasks:
            if pairs.name == task:
                return pair_digest(pairs)
        if evaluation.lm_eval is not None and task in evaluation.lm_eval.tasks:
            return task_digest(evaluation.lm_eval, task)
    return None


def _is_here(plan: Plan, score: Score) -> bool:
    """Whether the state that was scored is that of the path, as far as the run can tell."""
    path = plan.graph.by_name.get(score.path)
    if path is None or not plan.layout.path(path.name).ledger.is_dir():
        return False  # of another plan, or deleted since
    return checkpoint_digest(plan, path, score.step) in (None, score.checkpoint)


def checkpoint_digest(plan: Plan, path: TrainingPath, step: int) -> str | None:
    """The digest of a saved state; None if it is not here."""
    try:
        return str(find(plan.layout.path(path.name), step).manifest["digest"])
    except CheckpointError:
        return None
