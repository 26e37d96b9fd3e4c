"""Progress of training: a bar on a terminal, a line every ten seconds elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from lrps.base.numbers import duration
from lrps.ledger.metrics import Metrics

LINE_EVERY_SECONDS = 10.0


class TrainingConsole:
    """Progress over several paths, one after the other.

    total_steps: number of steps that the process group trains, over all its paths. quiet: show nothing, as on all ranks
    but the first. progress: what to show of the whole plan, from the number of steps that the group has trained and the
    seconds that it took; by default the time until the group has trained all its steps.
    """

    def __init__(
        self, total_steps: int, quiet: bool = False, progress: Callable[[int, float], str] | None = None
    ) -> None:
        self._console = Console(highlight=False, quiet=quiet)
        self._live = sys.stdout.isatty() and not quiet
        self._total, self._done, self._of_plan = total_steps, 0, progress
        self._started = self._printed = time.monotonic()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:>6.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[facts]}"),
            console=self._console,
            transient=True,
            disable=not self._live,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> TrainingConsole:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def begin(self, path: str, start: int, stop: int, origin: str) -> None:
        """Show that a path starts or resumes at step `start`. origin: description of its origin."""
        self.say(f"{path}: {f'steps {start} to {stop}' if start < stop else 'evaluation'}, {origin}")
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(f"{path:<12}", total=stop, completed=start, facts="")
        self._path, self._stop, self._here = path, stop, start
        self._printed = time.monotonic()

    def show(self, metrics: Metrics) -> None:
        """Show a logged step."""
        self._done += metrics.step - self._here
        self._here = metrics.step
        speed = f"{metrics.tokens_per_second:,.0f} tokens/s"
        facts = f"loss {metrics.loss:.4f}  lr {metrics.lr:.2e}  {speed}  {self._progress_text()}"
        if self._task is not None:
            self._progress.update(self._task, completed=metrics.step, facts=facts)
        now = time.monotonic()
        if not self._live and now - self._printed >= LINE_EVERY_SECONDS:
            self._printed = now
            self.say(f"{self._path}: step {metrics.step}/{self._stop}  {facts}")

    def say(self, text: str) -> None:
        """Print a line that stays visible."""
        self._console.print(text, markup=False, soft_wrap=True)
        self._console.file.flush()

    def _progress_text(self) -> str:
        elapsed = time.monotonic() - self._started
        if self._of_plan is not None:
            return self._of_plan(self._done, elapsed)
        return f"ETA {duration(elapsed / self._done * (self._total - self._done))}" if self._done else "ETA ?"
