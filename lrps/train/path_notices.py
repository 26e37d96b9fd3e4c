"""Notices about one path while it is trained: the events that a person who does not watch should know of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lrps.base.step_set import NO_STEPS, StepSet
from lrps.ledger.frequent_skips import frequent_skips
from lrps.ledger.reader import EMA, RAW
from lrps.paths.graph import TrainingPath
from lrps.plan.plan import Plan
from lrps.train.watches.branch_watch import alert_at


class PathNotices:
    """Reports of a path to a webhook, on rank 0.

    notify: function that reports an event: its kind (failure | version | spike | skips | forecast | budget), and its
    facts. passed: steps that the guard had let pass before, up to step `step`.
    """

    def __init__(
        self,
        plan: Plan,
        path: TrainingPath,
        notify: Callable[[str, Mapping[str, Any]], None],
        passed: StepSet = NO_STEPS,
        step: int = 0,
    ) -> None:
        self._passed, self._too_many = passed, bool(frequent_skips(passed, step))
        self._plan, self._path, self._notify, self._evaluated = plan, path, notify, frozenset(plan.heldout)
        self._releases = [release for release in plan.graph.releases if release.path == path.name]

    def event(self, kind: str, step: int, **facts: Any) -> None:
        """Report an event at a lineage step. facts: `loss` and others that belong to the event."""
        self._notify(kind, {"path": self._path.name, "step": step, **facts})

    def passed(self, step: int, **facts: Any) -> None:
        """Report that the guard has let the step before `step` pass, and once if these are more than 1 %."""
        self.event("spike", step - 1, skipped=True, **facts)
        self._passed |= StepSet.of([(step - 1, step - 1)])
        number = frequent_skips(self._passed, step)
        if number and not self._too_many:
            self.event("skips", step, skipped_steps=number)
        self._too_many = bool(number)

    def saved(self, step: int) -> None:
        """Report the versions that the saved state of a step finishes: those without a held-out set of their own."""
        for version in self._versions(step, RAW, EMA) - self._evaluated:
            self.event("version", step, version=version)

    def evaluated(self, step: int, results: Mapping[str, Mapping[str, Any]], form: str = RAW) -> None:
        """Report the versions that an evaluation of the state of a step finishes: those on whose own set it was made.

        Also reports a branch that has left its forecast with this evaluation.

        results: held-out version -> {loss, ..}. An evaluation on the sets of later versions finishes none.
        """
        for version in self._versions(step, form) & results.keys():
            losses = {name: result["loss"] for name, result in results.items()}
            self.event("version", step, version=version, loss=losses[version], heldout=losses)
        if form == RAW and (off := alert_at(self._plan, self._path, step)) is not None:
            self.event("forecast", off.step, loss=off.loss, heldout=off.heldout, forecast=off.forecast, error=str(off))

    def _versions(self, step: int, *forms: str) -> set[str]:
        return {each.version for each in self._releases if each.step == step and each.form in forms}
