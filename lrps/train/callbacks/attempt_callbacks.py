"""The callbacks of one attempt at a path on one rank: the training loop calls them all by one object."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lrps.base.errors import CallbackError, ConfigError
from lrps.base.plugins.registry import Plugin
from lrps.base.plugins.source import errors_of_plugin
from lrps.config.extensions import CALLBACKS, make
from lrps.config.models import Config
from lrps.engine.metrics_sync import StepResult
from lrps.engine.ranks import gather
from lrps.paths.graph import TrainingPath
from lrps.store.checkpoints import Checkpoint
from lrps.store.layout import PathLayout
from lrps.store.plugin_identity import changes_training
from lrps.train.callbacks.callback import (
    AttemptBegun,
    AttemptEnded,
    Callback,
    StateEvaluated,
    StateSaved,
    StepBegun,
    StepMeasured,
    StepTaken,
    Stop,
)
from lrps.train.evaluate import HeldoutResult
from lrps.train.metrics_window import MetricsWindow

if TYPE_CHECKING:
    from lrps.engine.deepspeed_engine import Engine


@dataclass(frozen=True)
class CallbackStop:
    """The first wish of a callback to stop the path."""

    name: str
    """Name of the callback in the config."""
    reason: str


class AttemptCallbacks:
    """All callbacks of an attempt on this rank, in the order of the config.

    A callback that raises ends the attempt: CallbackError with its name, the method, file and line.
    """

    def __init__(self, callbacks: Sequence[tuple[Plugin, Callback]], config: Config) -> None:
        self._callbacks, self._config = tuple(callbacks), config
        self._window, self._step = MetricsWindow(), 0
        self.stop: CallbackStop | None = None
        """First wish to stop, on this rank."""

    def begun(self, path: TrainingPath, layout: PathLayout, step: int, engine: Engine) -> None:
        """Give the engine to those that change training, and call `begun`. step: that the attempt begins at."""
        self._step = step
        for plugin, callback in self._callbacks:
            if changes_training(plugin):
                with _errors(plugin, "use_engine"):
                    callback.use_engine(engine)
        where = (engine.rank, engine.world_size, layout.directory)
        attempt = AttemptBegun(self._config.name, path.name, path.kind, step, path.stop, *where)
        self._each("begun", lambda callback: callback.begun(attempt))

    def before_step(self, step: int, lr: float) -> None:
        """step: lineage steps before it."""
        if self._callbacks:
            begun = StepBegun(step, lr)
            self._each("before_step", lambda callback: callback.before_step(begun))

    def after_step(self, step: int, lr: float) -> None:
        """step: lineage steps up to this one."""
        self._step = step
        if self._callbacks:
            taken = StepTaken(step, lr)
            self._each("after_step", lambda callback: callback.after_step(taken))

    def measured(self, step: int, result: StepResult, lr: float, seconds: float) -> None:
        """Call `measured`, and `logged` at the steps that are logged."""
        if not self._callbacks:
            return
        measured = StepMeasured(step, result.loss, lr, result.grad_norm, seconds)
        self._each("measured", lambda callback: callback.measured(measured))
        self._window.add(result.loss, lr, result.grad_norm, seconds)
        if step % self._config.track.log_every_steps == 0:
            self.log(step)

    def log(self, step: int) -> None:
        """Call `logged` with the steps since the last log, if there are any."""
        if self._window.steps:
            metrics = self._window.take(step, self._config.tokens_per_step)
            self._each("logged", lambda callback: callback.logged(metrics))

    def saved(self, checkpoint: Checkpoint, is_branch_point: bool) -> None:
        saved = StateSaved(checkpoint.step, checkpoint.directory, checkpoint.digest, is_branch_point)
        self._each("saved", lambda callback: callback.saved(saved))

    def evaluated(self, step: int, form: str, results: Mapping[str, HeldoutResult]) -> None:
        """results: by held-out set."""
        facts = {name: result.facts for name, result in results.items()}
        losses = {name: each["loss"] for name, each in facts.items()}
        bits = {name: each.get("bits_per_byte") for name, each in facts.items()}
        state = StateEvaluated(step, form, losses, bits)
        self._each("evaluated", lambda callback: callback.evaluated(state))

    @contextmanager
    def ending_failed(self) -> Iterator[None]:
        """Call `ended` if the context ends with an error."""
        try:
            yield
        except BaseException:
            with suppress(CallbackError):  # The error that ends the attempt is the one to report.
                self.ended("failed")
            raise

    def ended(self, outcome: str) -> None:
        """outcome: as in AttemptEnded."""
        attempt = AttemptEnded(self._step, outcome)
        self._each("ended", lambda callback: callback.ended(attempt))

    def agreed_stop(self) -> CallbackStop | None:
        """Return the first wish of any rank to stop. Collective; all ranks have callbacks, or none has."""
        if not self._config.callbacks:
            return None
        return next((wish for wish in gather(self.stop, CallbackStop | None) if wish is not None), None)

    def _each(self, method: str, call: Callable[[Callback], Any]) -> None:
        for plugin, callback in self._callbacks:
            with _errors(plugin, method):
                wish = call(callback)
            if wish is not None and not isinstance(wish, Stop):
                raise CallbackError(f"{plugin}: {method} returns {wish!r}; it returns None, or Stop(reason)")
            if wish is not None and self.stop is None:
                self.stop = CallbackStop(plugin.name, wish.reason)


@contextmanager
def _errors(plugin: Plugin, method: str) -> Iterator[None]:
    with errors_of_plugin(f"callbacks.{plugin.name}.{method}", plugin.source.file, CallbackError):
        yield


def open_callbacks(config: Config, rank: int) -> AttemptCallbacks:
    """Make the callbacks of a config for a new attempt on a rank. Raises ConfigError for one that is no Callback."""
    made: list[tuple[Plugin, Callback]] = []
    for name, options in config.callbacks.items():
        plugin = CALLBACKS.get(name)
        if rank and not (getattr(plugin.value, "every_rank", False) or changes_training(plugin)):
            continue
        callback = make(plugin, options or {})
        if not isinstance(callback, Callback):
            raise ConfigError(f"{plugin}: makes a {type(callback).__name__}, and no lrps.Callback")
        made.append((plugin, callback))
    return AttemptCallbacks(made, config)
