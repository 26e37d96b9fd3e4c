"""The average of a path's weights: its rule, and the step since which it has been made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lrps.base.errors import LineageError
from lrps.config.models import Config
from lrps.engine.averages.moving_average import MovingAverage
from lrps.paths.graph import Release, TrainingPath
from lrps.paths.optimizer_states import AVERAGE, averages
from lrps.plan.origin import Origin
from lrps.plan.plan import Plan
from lrps.store.checkpoints import find
from lrps.store.identity import AVERAGE_KEY

if TYPE_CHECKING:
    from lrps.engine.deepspeed_engine import Engine


def average_rule(config: Config, path: TrainingPath) -> MovingAverage | None:
    """Return the rule of the average of a path's weights; None if the path has none."""
    average = averages(config, path.kind)
    return None if average is None else MovingAverage(average.ema.horizon)


@dataclass(frozen=True)
class PathAverage:
    """The average of a path's weights, from the state that an attempt loads."""

    rule: MovingAverage
    since: int
    """Lineage step at which it began, as a copy of the weights."""

    @staticmethod
    def of(rule: MovingAverage | None, origin: Origin) -> PathAverage | None:
        """Return the average with which an attempt begins: that of the loaded state, or a new one; None without a rule.

        Only a state of the path itself has an average of its steps. One from elsewhere counts its steps from another
        beginning.
        """
        if rule is None:
            return None
        saved = origin.checkpoint.identity if origin.verb == "resume" and origin.checkpoint is not None else {}
        since = saved_since(saved)
        return PathAverage(rule, origin.step if since is None else since)

    @property
    def identity(self) -> dict[str, Any]:
        """Facts about the average in a checkpoint, from its identity."""
        facts = {"horizon": self.rule.horizon, "every": self.rule.every, "since": self.since}
        return {AVERAGE_KEY: {AVERAGE.name: facts}}

    def covers(self, step: int) -> bool:
        """Return True if the average has reached its horizon by `step`, so that it is evaluated."""
        return self.rule.covers(self.since, step)


def loaded_average(engine: Engine, rule: MovingAverage | None, origin: Origin) -> PathAverage | None:
    """Return the average of the state that the engine has just loaded, after letting it begin if it is a new one."""
    average = PathAverage.of(rule, origin)
    if average is not None and average.since == origin.step:
        engine.average.begin()
    return average


def check_released_averages(plan: Plan, path: TrainingPath, origin: Origin, releases: Iterable[Release]) -> None:
    """Raise LineageError if the average of a path begins too late for one of its releases, which are averages.

    origin: state that the next attempt begins from; releases of earlier steps are those of saved states.
    """
    rule = average_rule(plan.config, path)
    for release in releases:
        if release.step <= origin.step:
            saved = find(plan.layout.path(path.name), release.step)
            average = PathAverage.of(rule, Origin("resume", release.step, saved))
        else:
            average = PathAverage.of(rule, origin)
        if average is None or not average.covers(release.step):
            begun = "" if average is None else f", and its average begins at step {average.since}, too late for that"
            raise LineageError(
                f"{release.version} is the moving average of {path.name} at step {release.step}{begun}; set "
                f"release_per_version: {{{release.version}: main}} (or merge, if the states that it averages are saved)"
            )


def average_facts(config: Config, path: TrainingPath, origin: Origin) -> dict[str, int]:
    """Return what the start record of an attempt says about the average of the path's weights."""
    average = PathAverage.of(average_rule(config, path), origin)
    return {} if average is None else {"ema_since": average.since}


def saved_since(identity: Mapping[str, Any]) -> int | None:
    """Return the step since which the average in a checkpoint has been made; None if there is none."""
    facts = identity.get(AVERAGE_KEY, {}).get(AVERAGE.name)
    return None if facts is None else int(facts["since"])
