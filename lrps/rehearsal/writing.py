"""A stage in which a model writes: prompts by number, in chunks that are kept as they come.

What a chunk holds depends on its numbers alone, never on where an earlier process was stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from lrps.rehearsal.costs import Costs
from lrps.rehearsal.generator import Completion, Generator
from lrps.rehearsal.sampling import Sampling
from lrps.rehearsal.stage_file import StageFile

Progress = Callable[[int], None]
"""Called with numbers of generations that were there, or have come."""

CHUNK_BATCHES = 4
"""A chunk is kept as a whole: its prompts are sorted by length into so many batches."""


@dataclass(frozen=True)
class Writing:
    """How a stage generates. open_generator: is called only if there is something left to do."""

    open_generator: Callable[[], Generator]
    sampling: Sampling
    batch_size: int
    file: StageFile
    costs: Costs

    def run(
        self, asked: Callable[[int], tuple[str, int]], total: int, available: int, progress: Progress
    ) -> list[Completion]:
        """Completions 0 .. total, those generated that are not there. asked: number -> prompt and seed.

        available: how many prompts there are. The last chunk is a whole one as far as they go, so that a larger total
        later goes on as if it had been meant from the beginning.
        """
        chunk = self.batch_size * CHUNK_BATCHES
        there = self.file.resume(chunk, total)
        progress(len(there))
        completions = [Completion(**record) for record in there]
        if len(completions) >= total:
            return completions
        began = time.monotonic()
        generator = self.open_generator()
        while len(completions) < total:
            numbers = range(len(completions), min(len(completions) + chunk, available))
            prompts, seeds = zip(*map(asked, numbers), strict=True)
            new = generator.generate(prompts, self.sampling, seeds)
            self.file.append([asdict(one) for one in new])
            now = time.monotonic()
            self.costs.add(self.file, now - began, sum(one.tokens for one in new))
            began = now
            completions += new
            progress(len(new))
        return completions[:total]
