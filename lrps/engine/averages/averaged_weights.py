"""The averaged weights of one engine: made with every step, saved with the state, and put in place to be evaluated.

Gets the engine of DeepSpeed as an argument, as lrps.engine.fragments does, and must not import deepspeed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lrps.engine import flat_pieces, fragments
from lrps.engine.averages.moving_average import MovingAverage, exchange, update
from lrps.engine.optimizers.kinds import optimizer_of
from lrps.paths.optimizer_states import AVERAGE


class AveragedWeights:
    """An average of the weights of one engine; without a rule there is none, and nothing happens."""

    def __init__(self, engine: Any, rule: MovingAverage | None) -> None:
        """Begin the average as a copy of the engine's weights, if there is a rule."""
        self._engine, self.rule = engine, rule
        self.in_place = False
        """Whether averages and weights are exchanged."""
        self._outdated = False
        if rule is not None:
            self.begin()

    def begin(self) -> None:
        """Restart the average as a copy of the weights. Not collective."""
        optimizer_of(self._engine).begin(AVERAGE)

    def after_step(self, step: int) -> None:
        """Update the average after lineage step `step`, if an update is due. Not collective."""
        weight = None if self.rule is None else self.rule.weight(step)
        if weight is not None:
            update(optimizer_of(self._engine).weights_and_averages(), weight)

    @contextmanager
    def evaluated(self) -> Iterator[None]:
        """Let the engine evaluate the averages; at the end, also after an error, every bit is where it was.

        Not collective itself: after an error on one rank the others are elsewhere.
        """
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def _exchange(self) -> None:
        exchange(optimizer_of(self._engine).weights_and_averages())
        self.in_place, self._outdated = not self.in_place, True

    def refresh(self) -> None:
        """Derive the weights of forward passes from the fp32 ones if those were exchanged. Collective then."""
        if self._outdated:
            flat_pieces.refresh_weights(self._engine)
            self._outdated = False

    def own_fragments(self) -> fragments.Fragments:
        """Return this rank's part of the state. Raises RuntimeError while averages and weights are exchanged."""
        if self.in_place:
            raise RuntimeError("the averages are in the place of the weights, so that no state can be saved now")
        return fragments.own_fragments(self._engine)

    def release(self) -> None:
        """Forget the engine, which is closed."""
        self._engine = None
