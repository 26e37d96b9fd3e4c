"""A tracker that writes to Trackio's local SQLite file. The only module that imports trackio, an optional package."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import Any

from lrps.store.marks import with_mark
from lrps.track.tracker import TrackedPath


class TrackioRun:
    """A path as a run in runs/<plan>/trackio, with the same name in every attempt.

    Its project is the plan and its name that of the path, each with its mark: trackio merges runs of equal names, and
    TRACKIO_DIR may be a folder of many plans. Runs are grouped by kind of path. TRACKIO_DIR and other TRACKIO_*
    variables take precedence. A step that is logged again appears twice. Trackio keeps no summary of a run, so it does
    not get the hash of the ledger.
    """

    name = "trackio"

    def __init__(self, path: TrackedPath) -> None:
        self._path = path
        self._run: Any = None

    def start(self, _step: int) -> None:
        # Trackio reads the variable when it is first imported.
        os.environ.setdefault("TRACKIO_DIR", str(self._path.directory.parent.absolute() / "trackio"))
        with redirect_stdout(io.StringIO()):  # Hide its hint how to show a dashboard.
            import trackio

            self._run = trackio.init(
                project=self._path.group,
                name=with_mark(self._path.path, self._path.mark),
                group=self._path.job,
                config=dict(self._path.config),
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def finish(self, _exit_code: int, _ledger_sha256: str) -> None:
        import trackio

        with redirect_stdout(io.StringIO()):
            trackio.finish()  # Not the run's own: trackio finishes what it takes for unfinished again when Python ends.
