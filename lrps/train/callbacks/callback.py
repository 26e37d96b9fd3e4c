"""The base class of callbacks, and the frozen values that they are called with. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from lrps.ledger.metrics import Metrics

if TYPE_CHECKING:
    from lrps.engine.deepspeed_engine import Engine


@dataclass(frozen=True)
class AttemptBegun:
    """The path that an attempt trains, and the process that calls."""

    plan: str
    """Name of the plan."""
    path: str
    """Name of the path."""
    kind: str
    """Kind of the path, such as `branch`."""
    step: int
    """Lineage step that the attempt begins at."""
    stop: int
    """Lineage step that the path ends at."""
    rank: int
    world_size: int
    directory: Path
    """Directory of the path. A callback may write files of its own to `directory / "callbacks" / NAME`."""


@dataclass(frozen=True)
class StepBegun:
    """An optimizer step that is about to be taken."""

    step: int
    """Number of steps of the lineage before it."""
    lr: float


@dataclass(frozen=True)
class StepTaken:
    """An optimizer step that was taken. Its loss may still be on the device, see `StepMeasured`."""

    step: int
    """Number of steps of the lineage up to this one."""
    lr: float


@dataclass(frozen=True)
class StepMeasured:
    """The loss of an optimizer step, known at the metrics sync after it: up to a second of steps later."""

    step: int
    """Number of steps of the lineage up to this one."""
    loss: float
    """Training loss in nats per token, over the whole batch."""
    lr: float
    grad_norm: float | None
    """Gradient norm before clipping."""
    seconds: float
    """Wall-clock time of the step."""


@dataclass(frozen=True)
class StateSaved:
    """A checkpoint that is published: complete on disk, with all its hashes."""

    step: int
    directory: Path
    digest: str
    """Digest that identifies the state."""
    is_branch_point: bool
    """Whether other paths fork from it or a version is released from it, so that it is kept."""


@dataclass(frozen=True)
class StateEvaluated:
    """Held-out losses of a state."""

    step: int
    form: str
    """Form of the weights: `raw`, or that of an average of them."""
    losses: Mapping[str, float]
    """Mapping from held-out set to the loss in nats per token."""
    bits_per_byte: Mapping[str, float | None]


@dataclass(frozen=True)
class AttemptEnded:
    """How an attempt ended."""

    step: int
    """Number of steps of the lineage that were trained."""
    outcome: str
    """`complete`, `interrupted` (saved; a signal or the budget), `stopped` (saved; a callback), or `failed`."""


@dataclass(frozen=True)
class Stop:
    """The wish of a callback to stop the path: it is saved at the next metrics sync, and a person has to decide."""

    reason: str
    """Reason as a sentence for people, which the ledger and the terminal show."""


class Callback:
    """Base class of callbacks: every method is called by the training loop, and does nothing unless it is overridden.

    A method may return Stop(reason) to end the path early. It gets frozen values and must not call collectives of
    torch.distributed, unless every rank calls it. An exception ends the attempt; nothing that was saved is lost.
    """

    every_rank: ClassVar[bool] = False
    """Whether every rank has the callback; by default only rank 0."""
    changes_training: ClassVar[bool] = False
    """Whether the callback changes the weights: then it is on every rank, `use_engine` is called, and its code and
    options are part of the identity of every path."""

    def use_engine(self, engine: Engine) -> None:
        """Keep the engine, whose `module` is the model. Called once before `begun`, if `changes_training`."""

    def begun(self, attempt: AttemptBegun) -> Stop | None:
        """Act before the first step of an attempt, also of one that only evaluates."""

    def before_step(self, step: StepBegun) -> Stop | None:
        """Act before a step."""

    def after_step(self, step: StepTaken) -> Stop | None:
        """Act after the update of a step; reading values from the device here would slow training down."""

    def measured(self, step: StepMeasured) -> Stop | None:
        """Act on the loss of a step."""

    def logged(self, metrics: Metrics) -> Stop | None:
        """Act on a line of metrics.jsonl, every track.log_every_steps."""

    def saved(self, state: StateSaved) -> Stop | None:
        """Act on a published checkpoint."""

    def evaluated(self, state: StateEvaluated) -> Stop | None:
        """Act on the held-out losses of a state."""

    def ended(self, attempt: AttemptEnded) -> None:
        """Act at the end of an attempt, also of a failed one."""
