"""A stage in which a model writes completions of numbered prompts, in chunks that are saved as they are finished.

The content of a chunk depends on its numbers only, not on where an earlier process was stopped, or on the machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from lrps.rehearsal.generator import Completion, Generator
from lrps.rehearsal.sampling import Sampling
from lrps.rehearsal.share import GenerationShare
from lrps.rehearsal.stage_file import StageCosts, StageFile

Progress = Callable[[int], None]
"""Callback that gets the number of generations that were loaded or made since the last call."""

CHUNK_BATCHES = 4
"""Number of batches in a chunk, into which its prompts are sorted by length."""


@dataclass(frozen=True)
class Requests:
    """The prompts of a stage."""

    request: Callable[[int], tuple[str, int]]
    """Function from the number of a completion to its prompt and seed."""
    total: int
    """Number of completions that are wanted."""
    available: int
    """Number of prompts. A last chunk is completed up to it, so that a larger total continues with the same chunks."""


@dataclass(frozen=True)
class GenerationStage:
    """The settings of a stage that generates. open_generator: called only if completions are missing."""

    open_generator: Callable[[], Generator]
    sampling: Sampling
    batch_size: int
    file: StageFile
    costs: StageCosts

    def run(self, requests: Requests, progress: Progress) -> list[Completion]:
        """Return the completions 0 .. total - 1; generate and save those that no file has.

        Chunks of shares are appended to the stage's file as they are.
        """
        self.file.adopt()
        total = requests.total
        saved = self.file.resume(self._chunk, total)
        progress(len(saved))
        completions = [Completion(**record) for record in saved]
        shared = self._shared() if len(completions) < total else {}
        while len(completions) < total:
            numbers = self._numbers(len(completions) // self._chunk, requests)
            records = shared.get(numbers.start // self._chunk, [])
            if len(records) == len(numbers):
                self.file.append(records)
            else:
                records = self._generate(numbers, requests, self.file)
            completions += [Completion(**record) for record in records]
            progress(len(records))
        return completions[:total]

    def run_share(self, requests: Requests, share: GenerationShare, progress: Progress) -> None:
        """Generate and save the chunks of a share that no file has. Only the share's file is written.

        The files of other divisions of the generations, and of sets with the same ones, count too.
        """
        own = self._chunks(requests)[share.number :: share.of]
        whole, shared, file = self.file.best().read() or [], self._shared(), self.file.of_share(share.name)
        saved = file.resume(self._chunk, sum(map(len, own)))
        progress(len(saved))
        for numbers in own[-(-len(saved) // self._chunk) :]:
            records = whole[numbers.start : numbers.stop]
            if len(records) != len(numbers):
                records = shared.get(numbers.start // self._chunk, [])
            if len(records) == len(numbers):
                file.append(records)
            else:
                self._generate(numbers, requests, file)
            progress(len(numbers))

    def collect(self, requests: Requests) -> list[Completion] | None:
        """Return the completions 0 .. total - 1 that files of the stage and its shares have; None if some are missing.

        Nothing is written.
        """
        records, shared = self.file.best().read() or [], self._shared()
        for number, numbers in enumerate(self._chunks(requests)):
            if numbers.stop > len(records):
                found = shared.get(number, [])
                if len(found) != len(numbers):
                    return None
                records = [*records[: numbers.start], *found]
        return [Completion(**record) for record in records[: requests.total]]

    @property
    def _chunk(self) -> int:
        return self.batch_size * CHUNK_BATCHES

    def _chunks(self, requests: Requests) -> list[range]:
        return [self._numbers(number, requests) for number in range(-(-requests.total // self._chunk))]

    def _numbers(self, chunk: int, requests: Requests) -> range:
        return range(chunk * self._chunk, min((chunk + 1) * self._chunk, requests.available))

    def _generate(self, numbers: range, requests: Requests, file: StageFile) -> list[dict[str, Any]]:
        """Generate a chunk and append it to a file; return its records."""
        began = time.monotonic()
        prompts, seeds = zip(*map(requests.request, numbers), strict=True)
        new = self._generator.generate(prompts, self.sampling, seeds)
        records = [asdict(one) for one in new]
        file.append(records)
        self.costs.add(file, time.monotonic() - began, sum(one.tokens for one in new))
        return records

    @cached_property
    def _generator(self) -> Generator:
        return self.open_generator()

    def _shared(self) -> Mapping[int, list[Any]]:
        """Return the longest of the chunks that the shares' files have of each number: a killed one may be short."""
        found: dict[int, list[Any]] = {}
        for file in self.file.shares():
            number, _, of = str(file.share).partition("-of-")
            records = file.read() or []
            for place, start in enumerate(range(0, len(records), self._chunk)):
                chunk = int(number) - 1 + place * int(of)
                found[chunk] = max(found.get(chunk, []), records[start : start + self._chunk], key=len)
        return found
