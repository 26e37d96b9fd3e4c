"""A share of a set's generations, for one of several processes or machines. Must not import torch."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lrps.base.errors import ConfigError


@dataclass(frozen=True)
class GenerationShare:
    """Share `number` (from 0) of `of`: the chunks of generations with this remainder."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> GenerationShare:
        """Return the share of a text such as `2/4`. Raises ConfigError for anything else."""
        match = re.fullmatch(r"(\d{1,4})/(\d{1,4})", text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise ConfigError(f"--share {text}: give the number of this machine and of all, such as 1/4 .. 4/4")
        return cls(int(match[1]) - 1, int(match[2]))

    @property
    def name(self) -> str:
        """The share in a file's name: `2-of-4`."""
        return f"{self.number + 1}-of-{self.of}"

    def part(self, number: int, of: int) -> GenerationShare:
        """Return part `number` (from 0) of `of` equal parts of this share."""
        return GenerationShare(self.number + self.of * number, self.of * of)
