"""A stage in which a model writes completions of numbered prompts, in chunks that are saved as they are finished.

The content of a chunk depends on its numbers only, not on where an earlier process was stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from lrps.rehearsal.generator import Completion, Generator
from lrps.rehearsal.sampling import Sampling
from lrps.rehearsal.stage_file import StageCosts, StageFile

Progress = Callable[[int], None]
"""Callback that gets the number of generations that were loaded or made since the last call."""

CHUNK_BATCHES = 4
"""Number of batches in a chunk, into which its prompts are sorted by length."""


@dataclass(frozen=True)
class GenerationStage:
    """The settings of a stage that generates. open_generator: called only if completions are missing."""

    open_generator: Callable[[], Generator]
    sampling: Sampling
    batch_size: int
    file: StageFile
    costs: StageCosts

    def run(
        self, request: Callable[[int], tuple[str, int]], total: int, available: int, progress: Progress
    ) -> list[Completion]:
        """Return the completions 0 .. total - 1; generate and save those that are missing.

        request: maps a number to its prompt and seed. available: number of prompts. A last chunk is completed up to
        `available`, so that a larger total later continues with the same chunks.
        """
        chunk = self.batch_size * CHUNK_BATCHES
        saved = self.file.resume(chunk, total)
        progress(len(saved))
        completions = [Completion(**record) for record in saved]
        if len(completions) >= total:
            return completions
        began = time.monotonic()
        generator = self.open_generator()
        while len(completions) < total:
            numbers = range(len(completions), min(len(completions) + chunk, available))
            prompts, seeds = zip(*map(request, numbers), strict=True)
            new = generator.generate(prompts, self.sampling, seeds)
            self.file.append([asdict(one) for one in new])
            now = time.monotonic()
            self.costs.add(self.file, now - began, sum(one.tokens for one in new))
            began = now
            completions += new
            progress(len(new))
        return completions[:total]
