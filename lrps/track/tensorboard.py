"""A tracker that writes TensorBoard event files. The only module that imports tensorboard, an optional package."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import yaml

from lrps.track.tracker import TrackedPath


class TensorboardRun:
    """Event files of a path in <path>/tensorboard; `tensorboard --logdir runs/<plan>` overlays all paths.

    The x-axis is the step of the lineage, so a branch begins where it forks. Steps that are logged again replace those
    of a killed attempt. Written with tensorboard's own writer, which needs no torch.
    """

    name = "tensorboard"

    def __init__(self, path: TrackedPath) -> None:
        self._path = path
        self._writer: Any = None
        self._step = 0

    def start(self, step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from tensorboard.plugins.text.summary_v2 import text_pb
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._step = step
        self._writer = EventFileWriter(str(self._path.directory / "tensorboard"))
        # It makes readers drop this step and later ones of earlier files; all steps if the path begins, since files of
        # another plan may be left there, whose path saved nothing.
        first = 0 if step == self._path.start else step + 1
        self._add(first, session_log=SessionLog(status=SessionLog.START))
        config = yaml.safe_dump(dict(self._path.config), sort_keys=False)
        self._add(step + 1, summary=text_pb("config", "\n".join(f"    {line}" for line in config.splitlines())))
        self._writer.flush()

    def log(self, step: int, values: Mapping[str, float]) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        self._step = step
        scalars = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._add(step, summary=Summary(value=scalars))
        self._writer.flush()

    def finish(self, _exit_code: int, ledger_sha256: str) -> None:
        from tensorboard.plugins.text.summary_v2 import text_pb

        self._add(self._step, summary=text_pb("ledger_sha256", ledger_sha256))
        self._writer.close()

    def _add(self, step: int, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._writer.add_event(Event(wall_time=time.time(), step=step, **content))
