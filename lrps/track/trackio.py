"""Trackio runs in a local SQLite file. The one door to trackio, an extra; imported when an attempt starts."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import Any

from lrps.track.tracker import TrackedPath


class TrackioRun:
    """A run of the project <plan> in runs/<plan>/trackio, under the path's name in every attempt, grouped by job.

    TRACKIO_DIR and the other TRACKIO_* variables go before that. A step that is logged again stands there twice.
    """

    name = "trackio"

    def __init__(self, path: TrackedPath) -> None:
        self._path = path
        self._run: Any = None

    def start(self, _step: int) -> None:
        # Trackio reads it once, when it is first imported.
        os.environ.setdefault("TRACKIO_DIR", str(self._path.directory.parent.absolute() / "trackio"))
        with redirect_stdout(io.StringIO()):  # It says how to show a dashboard; we have a line of our own for that.
            import trackio

            self._run = trackio.init(
                project=self._path.plan,
                name=self._path.path,
                group=self._path.job,
                config=dict(self._path.config),
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def finish(self, _exit_code: int) -> None:
        import trackio

        with redirect_stdout(io.StringIO()):
            trackio.finish()  # Not the run's own: trackio finishes what it takes for unfinished again when Python ends.
