"""The grid of ranks: which ranks share rows, and which part of them each takes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RankGrid:
    """Ranks in groups of neighbours. Groups have different rows; a rank has one part of the tokens of each row."""

    rank: int
    """Number of this rank."""
    ranks: int
    """Number of all ranks. ZeRO divides weights and states among them, whatever the groups are."""
    parts: int = 1
    """Number of ranks in a group, which is that of parts of a row; a divisor of `ranks`."""

    @property
    def data_rank(self) -> int:
        """Number of this rank's group: the rank by which rows are dealt."""
        return self.rank // self.parts

    @property
    def data_ranks(self) -> int:
        """Number of groups: the number of ranks among which a batch is divided."""
        return self.ranks // self.parts

    @property
    def part(self) -> int:
        """Number of this rank in its group, and of its part of each row."""
        return self.rank % self.parts

    def columns(self, length: int) -> slice:
        """Return the range of tokens in rows of `length` tokens, a multiple of `parts`, that this rank takes."""
        share = length // self.parts
        return slice(self.part * share, (self.part + 1) * share)
