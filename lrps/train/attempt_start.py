"""The start of an attempt on all ranks together: rank 0 proposes the newest saved state, every rank reads its share.

A state whose bytes differ from its manifest gives way to the next older one, on all ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lrps.base.errors import DamagedCheckpointError
from lrps.engine.checkpointing import load_checkpoint, verify_together
from lrps.engine.ranks import ask_rank_zero
from lrps.plan.origin import Origin
from lrps.store.checkpoints import Checkpoint
from lrps.store.newest import skip_reason
from lrps.train.path_start import PathStart

if TYPE_CHECKING:
    from lrps.engine.deepspeed_engine import Engine

Propose = Callable[[Mapping[Path, str]], PathStart]
"""Function from checkpoints that do not count, with reasons, to the start of an attempt. Rank 0 calls it."""

Check = Callable[[Checkpoint, Origin], None]
"""Function that raises CheckpointError if a state that was trained here is not one of the plan. All ranks call it."""


class AttemptStart:
    """The start of one attempt at a path, and the states that proved damaged. Methods are collective."""

    def __init__(self, propose: Propose) -> None:
        self._propose = propose
        self._damaged: dict[Path, str] = {}

    def find(self) -> PathStart:
        """Return the proposed start. If nothing is left to do, its state is intact; if there is, `load` finds out."""
        while True:
            start = self._proposed()
            if not start.complete or self._is_intact(start.origin, partial(_verify, start.origin)):
                return start

    def load(self, engine: Engine, start: PathStart, check: Check) -> PathStart:
        """Load the first state of a start, or of an older one as long as the state to resume from is damaged.

        Returns the start whose state the engine has. Raises DamagedCheckpointError for a state that the path does not
        resume from, such as that of a fork: nothing replaces it.
        """
        while True:
            first = start.first_state
            if first is start.origin:
                if self._is_intact(first, partial(_load, engine, first, check)):
                    return start
            elif self._is_intact(start.origin, partial(_verify, start.origin)):
                _load(engine, first, check)
                return start
            start = self._proposed()

    def _proposed(self) -> PathStart:
        return ask_rank_zero(lambda: self._propose(self._damaged), PathStart)

    def _is_intact(self, origin: Origin, read: Callable[[], None]) -> bool:
        """Read the state of an origin; False if the path resumes from it and it is damaged, which is remembered."""
        try:
            read()
        except DamagedCheckpointError as error:
            if origin.verb != "resume" or origin.checkpoint is None:
                raise
            self._damaged[origin.checkpoint.directory] = skip_reason(error)
            return False
        return True


def _verify(origin: Origin) -> None:
    if origin.verb == "resume" and origin.checkpoint is not None:
        verify_together(origin.checkpoint)


def _load(engine: Engine, origin: Origin, check: Check) -> None:
    if origin.checkpoint is None:
        return
    if origin.verb != "start":  # The state of another program has no such identity; loading checks its model.
        check(origin.checkpoint, origin)
    load_checkpoint(engine, origin.checkpoint, origin.optimizer)
