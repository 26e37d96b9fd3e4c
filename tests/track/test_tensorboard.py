"""Event files, read back with TensorBoard's own reader."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lrps.track.tensorboard import TensorboardRun
from lrps.track.tracker import TrackedPath


def attempt(path: TrackedPath, start: int, stop: int, loss: float) -> None:
    run = TensorboardRun(path)
    run.start(start)
    for step in range(start + 1, stop + 1):
        run.log(step, {"tokens": 16 * step, "train/loss": loss})
    run.finish(0, "5ea1")


def test_a_resumed_path_has_every_step_once(tracked: TrackedPath) -> None:
    attempt(tracked, 40, 48, loss=3.0)
    time.sleep(1)  # The names of event files are of the second.
    attempt(tracked, 45, 52, loss=2.0)
    events = EventAccumulator(str(tracked.directory / "tensorboard"))
    events.Reload()
    points = [(event.step, event.value) for event in events.Scalars("train/loss")]
    assert points == [(step, 3.0 if step <= 45 else 2.0) for step in range(41, 53)], "what was trained again counts"
    assert [event.value for event in events.Scalars("tokens")] == [16 * step for step in range(41, 53)]


def test_what_another_plan_left_is_gone_where_a_path_begins(tracked: TrackedPath) -> None:
    attempt(replace(tracked, start=20), 20, 30, loss=3.0)
    time.sleep(1)  # The names of event files are of the second.
    attempt(tracked, 40, 44, loss=2.0)
    events = EventAccumulator(str(tracked.directory / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [41, 42, 43, 44]


def test_the_lineage_is_in_the_file(tracked: TrackedPath) -> None:
    attempt(tracked, 40, 41, loss=3.0)
    events = EventAccumulator(str(tracked.directory / "tensorboard"))
    events.Reload()
    (config,) = events.Tensors("config")
    assert "parent: main" in config.tensor_proto.string_val[0].decode()


def test_it_needs_no_torch() -> None:
    script = "import sys, tensorboard.summary.writer.event_file_writer; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
