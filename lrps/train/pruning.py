"""Removal of a path's older checkpoints while the path is trained."""

from __future__ import annotations

from collections.abc import Callable

from lrps.base.errors import CheckpointError
from lrps.config.checkpointing import CheckpointConfig
from lrps.ledger.confirmed import saved_states
from lrps.ledger.reader import FollowedLedger
from lrps.paths.graph import TrainingPath
from lrps.store.kept_checkpoints import prune_checkpoints
from lrps.store.layout import PathLayout


class Pruner:
    """Removes the checkpoints of a path that retention does not keep; only on rank 0.

    It reads the ledger, which says what is confirmed, as far as it has grown since the last time.
    """

    def __init__(
        self, settings: CheckpointConfig, path: TrainingPath, layout: PathLayout, warn: Callable[[str], None]
    ) -> None:
        self._settings, self._path, self._layout, self._warn = settings, path, layout, warn
        self._ledger = FollowedLedger()
        self._failed = False

    def prune(self, newest: int) -> None:
        """Remove checkpoints now that the state of step `newest` is saved.

        Warn once if that fails; every save tries again.
        """
        settings, path = self._settings, self._path
        self._ledger = self._ledger.refreshed(self._layout.ledger)
        try:
            prune_checkpoints(
                self._layout.checkpoints,
                1 if newest == path.stop else settings.keep_last,  # A path that is trained needs its pins only.
                settings.keep_every_steps,
                settings.keep_hours,
                states=saved_states(self._ledger.records),
                spread=settings.keeps_for_rewind(path.kind),
            )
        except (CheckpointError, OSError) as error:
            if not self._failed:
                self._warn(f"old checkpoints stay: {error}")
            self._failed = True
