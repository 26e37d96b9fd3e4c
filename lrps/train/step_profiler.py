"""Profiler of training steps: it writes a trace, in which a browser shows what each step spends its time on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WARM_UP_STEPS = 5
"""Number of steps before those in the trace: the first ones compile and allocate, and the profiler starts up in the
last one."""


class StepProfiler:
    """Profiler of the first steps that a process trains: one trace, of one path. It changes nothing of what is trained.

    steps: number of steps in the trace; None for no trace. say: shows where it is.
    """

    def __init__(self, steps: int | None, say: Callable[[str], None]) -> None:
        self._steps, self._say = steps, say
        self._folder = Path()
        self._begun, self._first, self._last = 0, 0, 0
        self._profile: Any = None
        self._name: Any = None

    @contextmanager
    def tracing(self, folder: Path) -> Iterator[None]:
        """Profile a path inside the context, unless another one was. folder: where the trace is written."""
        self._folder, self._begun = folder, 0
        try:
            yield
        finally:
            self._end()

    def before_step(self, step: int) -> None:
        """Note that the step after lineage step `step` begins, and with it the end of the one before."""
        if self._steps is None:
            return
        self._begun += 1
        if self._begun == WARM_UP_STEPS:
            from torch.profiler import profile

            self._profile = profile(record_shapes=True)
            self._profile.prepare_trace()
        elif self._begun == WARM_UP_STEPS + 1:
            self._first = self._last = step + 1
            self._profile.start_trace()
            self._name_step()
        elif self._begun > WARM_UP_STEPS + self._steps:
            self._write()
        elif self._begun > WARM_UP_STEPS:
            self._last = step + 1
            self._name_step()

    def _end(self) -> None:
        """Write the steps that the trace has so far; without any, the next path is profiled."""
        if self._steps is None or not self._begun:
            return
        if self._begun > WARM_UP_STEPS:
            self._write()
        else:
            self._say(f"no trace: {self._begun} steps were trained, and the first {WARM_UP_STEPS} are not in one")
            self._stop()

    def _name_step(self) -> None:
        from torch.profiler import record_function

        self._end_name()
        self._name = record_function(f"step {self._last}")
        self._name.__enter__()

    def _end_name(self) -> None:
        if self._name is not None:
            self._name.__exit__(None, None, None)
            self._name = None

    def _stop(self) -> Any:
        """Stop the profiler, and return it."""
        self._end_name()
        profile, self._profile = self._profile, None
        if profile is not None:
            if self._begun <= WARM_UP_STEPS:
                profile.start_trace()  # One that was only prepared would disturb the next one.
            profile.stop_trace()
        return profile

    def _write(self) -> None:
        file = self._folder / f"steps-{self._first}-{self._last}.json.gz"
        profile, self._steps = self._stop(), None
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            unfinished = file.with_name(f".{file.name}")
            profile.export_chrome_trace(str(unfinished))
            os.replace(unfinished, file)
        except (OSError, RuntimeError) as error:
            self._say(f"the trace of steps {self._first} to {self._last} was not written: {error}")
        else:
            self._say(f"trace of steps {self._first} to {self._last}: {file}; open it at https://ui.perfetto.dev")
