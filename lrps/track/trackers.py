"""The trackers that a config names, as one that never fails.

metrics.jsonl and the ledger hold the same values: a tracker that fails is reported once and dropped, and training
continues.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from lrps.base.errors import ConfigError
from lrps.base.units import hours
from lrps.config.extensions import TRACKERS, make
from lrps.config.tracking import TrackConfig
from lrps.ledger.metrics import Metrics
from lrps.ledger.reader import RAW, read_ledger
from lrps.ledger.totals import total
from lrps.paths.cost import mfu, peak_flops
from lrps.paths.graph import Graph, TrainingPath
from lrps.plan.plan import Plan
from lrps.store.marks import read_mark, with_mark
from lrps.track.tracker import TrackedPath, Tracker

EXTRAS = {"tensorboard": "tensorboard", "trackio": "trackio"}
"""Tracker -> the extra of lrps that installs its package; wandb is always installed."""


@dataclass(frozen=True)
class Spent:
    """The cost of one or several attempts at a path so far."""

    device_hours: float = 0.0
    flops: int = 0

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.device_hours + other.device_hours, self.flops + other.flops)


@dataclass(frozen=True)
class Rates:
    """Factors that convert cost into money and utilisation; None for each that is not known."""

    price_per_device_hour: float | None = None
    flops_per_token: int | None = None
    peak_flops: float | None = None
    """Peak FLOP/s of all devices of the process group together."""


def train_values(metrics: Metrics, spent: Spent, rates: Rates) -> dict[str, float]:
    """Return the values to track for a logged step. Unknown values have no key.

    spent: cost of the path itself, over all its attempts.
    """
    price = rates.price_per_device_hour
    values = {
        "tokens": metrics.tokens,
        "train/loss": metrics.loss,
        "train/lr": metrics.lr,
        "train/grad_norm": metrics.grad_norm,
        "train/tokens_per_second": metrics.tokens_per_second,
        "train/mfu": mfu(metrics.tokens_per_second, rates.flops_per_token, rates.peak_flops),
        "cost/device_hours": spent.device_hours,
        "cost/flops": spent.flops or None,
        "cost/money": None if price is None else spent.device_hours * price,
    }
    return {key: value for key, value in values.items() if value is not None}


def heldout_values(tokens: int, results: Mapping[str, Mapping[str, Any]], form: str = RAW) -> dict[str, float]:
    """Return the values to track for an evaluation. results: held-out version -> {loss, bits_per_byte, ..}.

    A result with `first_rows` also gives the loss on the sequences that main paths are evaluated on. form: form of the
    weights, as in lrps.ledger.reader.
    """
    kinds, group = ("loss", "bits_per_byte"), "heldout" if form == RAW else f"heldout-{form}"
    named = {f"{group}/{name}/{kind}": result.get(kind) for name, result in results.items() for kind in kinds}
    named |= {
        f"{group}/{name}/first_rows/loss": r["first_rows"]["loss"] for name, r in results.items() if "first_rows" in r
    }
    return {"tokens": tokens, **{key: value for key, value in named.items() if value is not None}}


class Trackers:
    """All trackers of a path as one that never fails. before: cost of earlier attempts at the path."""

    def __init__(
        self,
        trackers: Sequence[Tracker] = (),
        say: Callable[[str], None] = print,
        before: Spent = Spent(),
        rates: Rates = Rates(),
    ) -> None:
        self._trackers, self._say, self._before, self._rates = list(trackers), say, before, rates

    def start(self, step: int) -> None:
        self._each(lambda tracker: tracker.start(step))

    def log(self, metrics: Metrics, spent: Spent) -> None:
        """Track a logged step. spent: cost of this attempt so far."""
        values = train_values(metrics, self._before + spent, self._rates)
        self._each(lambda tracker: tracker.log(metrics.step, values))

    def log_evaluation(self, step: int, tokens: int, results: Mapping[str, Mapping[str, Any]], form: str = RAW) -> None:
        """Track an evaluation of the state after `step`. results, form: as in `heldout_values`."""
        values = heldout_values(tokens, results, form)
        self._each(lambda tracker: tracker.log(step, values))

    def finish(self, exit_code: int, ledger_sha256: str) -> None:
        """End the attempt. ledger_sha256: as in `Tracker.finish`."""
        self._each(lambda tracker: tracker.finish(exit_code, ledger_sha256))

    def _each(self, act: Callable[[Tracker], None]) -> None:
        for tracker in tuple(self._trackers):
            try:
                act(tracker)
            except Exception as error:
                self._trackers.remove(tracker)
                self._say(f"{tracker.name}: {error}; training continues without it, metrics.jsonl has everything")


def check_trackers(track: TrackConfig) -> None:
    """Raise ConfigError for a tracker whose package is not installed, before anything is started."""
    for name in track.trackers:
        if name in TRACKERS.builtin and find_spec(name) is None:
            extra = f"pip install 'lrps[{EXTRAS[name]}]'" if name in EXTRAS else f"pip install {name}"
            raise ConfigError(
                f"track.trackers: {name} is not installed; run `{extra}`, or remove {name} from the list: "
                "metrics.jsonl is written without it"
            )


def path_tags(graph: Graph, name: str) -> tuple[str, ...]:
    """Return the names of the paradigms that a path belongs to, then those of the versions that it releases."""
    paradigms = [paradigm.name for paradigm in graph.paradigms if any(path.name == name for path in paradigm.paths)]
    versions = [release.version for release in graph.releases if release.path == name]
    return tuple(dict.fromkeys([*paradigms, *versions]))


def open_trackers(
    plan: Plan, path: TrainingPath, *, lineage: Mapping[str, Any], devices: int, say: Callable[[str], None]
) -> Trackers:
    """Open the trackers that the config names for a new attempt at a path. No run is started yet.

    devices: number of processes in the group. Call it once the path has its path.json, and before the attempt has a
    ledger.
    """
    config, costs, layout = plan.config, plan.costs, plan.layout.path(path.name)
    if not config.track.trackers:
        return Trackers()
    # How processes are started is nobody's business elsewhere, and people write keys there.
    facts = {**config.model_dump(mode="json", exclude={"launch"}), "lineage": dict(lineage)}
    tracked = TrackedPath(
        plan=config.name,
        group=with_mark(config.name, read_mark(plan.layout.run_json)),
        path=path.name,
        mark=read_mark(layout.path_json),
        job=path.kind,
        start=path.start,
        tags=path_tags(plan.graph, path.name),
        directory=layout.directory,
        config=facts,
    )
    earlier, peak = total(read_ledger(layout.ledger, heartbeats=False)).spent, peak_flops(config.hardware)
    return Trackers(
        [_open(name, config.track, tracked, say) for name in config.track.trackers],
        say,
        Spent(hours(earlier.allocated_seconds), earlier.flops),
        Rates(costs.price_per_device_hour, costs.flops_per_token, None if peak is None else peak * devices),
    )


def _wandb(track: TrackConfig, path: TrackedPath, say: Callable[[str], None]) -> Tracker:
    from lrps.track.wandb.run import WandbRun

    return WandbRun(track.wandb, path, say)


def _tensorboard(_track: TrackConfig, path: TrackedPath, _say: Callable[[str], None]) -> Tracker:
    from lrps.track.tensorboard import TensorboardRun

    return TensorboardRun(path)


def _trackio(_track: TrackConfig, path: TrackedPath, _say: Callable[[str], None]) -> Tracker:
    from lrps.track.trackio import TrackioRun

    return TrackioRun(path)


OPENERS: Mapping[str, Callable[[TrackConfig, TrackedPath, Callable[[str], None]], Tracker]] = {
    "wandb": _wandb,
    "tensorboard": _tensorboard,
    "trackio": _trackio,
}
"""Mapping from name in track.trackers to the function that makes the tracker. Its package is imported when it is
called."""


def _open(name: str, track: TrackConfig, path: TrackedPath, say: Callable[[str], None]) -> Tracker:
    """Return a tracker, built-in or of a plug-in. Raises ConfigError if the code of a plug-in fails."""
    if (builtin := OPENERS.get(name)) is not None:
        return builtin(track, path, say)
    tracker: Tracker = make(TRACKERS.get(name), track.options.get(name, {}), path)
    return tracker
