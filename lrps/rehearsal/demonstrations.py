"""The choice of demonstrations, and the prompt of each generation, both exact and seeded.

All randomness comes from keyed permutations, so that a generation is a function of its number and does not depend on
how many are wanted. Must not import torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import perm

import numpy as np

from lrps.base.errors import GenerationError
from lrps.data.order import Permutation
from lrps.rehearsal.instances import InstanceFormat

MAKER = "lrps.rehearsal/1"
"""Name of this synthesis in manifests and stages. It needs a new number if equal settings would give other data."""
LARGEST = 2**61
"""Maximal number of generations that are permuted; further choices are never used."""


def permutation_key(*parts: str | int) -> int:
    """Return a 63-bit hash of the parts."""
    digest = hashlib.blake2b(json.dumps([MAKER, *parts]).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def pool_size(documents: int, share: float, in_a_prompt: int, fewest: int) -> int:
    """Return the number of demonstrations to draw: the share, but at least `fewest` where there are as many documents.

    Raises GenerationError if there are too few for one prompt.
    """
    if documents < in_a_prompt:
        raise GenerationError(
            f"{documents} documents are fewer than the {in_a_prompt} demonstrations of a prompt; lower "
            "synthesis.demonstrations, or rehearse a larger version"
        )
    return max(in_a_prompt, min(fewest, documents), round(share * documents))


def drawing_order(documents: int, seed: int) -> Iterator[int]:
    """Yield the numbers of all documents in a seeded order."""
    permutation = Permutation(documents, permutation_key("demonstrations", seed))
    for start in range(0, documents, 2**16):
        yield from permutation(np.arange(start, min(start + 2**16, documents))).tolist()


@dataclass(frozen=True)
class Prompts:
    """The prompts of all generations: every ordered choice of `chosen` of the demonstrations, `samples` times each."""

    demonstrations: Sequence[str]
    chosen: int
    samples: int
    seed: int
    form: InstanceFormat
    separator: str

    @property
    def generations(self) -> int:
        return possible_generations(len(self.demonstrations), self.chosen, self.samples)

    def numbers(self, start: int, stop: int) -> list[int]:
        """Return generations start .. stop - 1 of the seeded order, as numbers below `generations`."""
        permutation = Permutation(self.generations, permutation_key("generations", self.seed))
        found: list[int] = permutation(np.arange(start, stop)).tolist()
        return found

    def prompt(self, number: int) -> str:
        choice = ordered_choice(number // self.samples, len(self.demonstrations), self.chosen)
        return self.form.prompt([self.demonstrations[index] for index in choice], self.separator)

    def seed_of(self, number: int) -> int:
        return permutation_key("synthesis", self.seed, number)


def possible_generations(demonstrations: int, chosen: int, samples: int) -> int:
    """Return the number of ordered choices times `samples`, at most LARGEST."""
    return min(perm(demonstrations, chosen) * samples, LARGEST)


def ordered_choice(number: int, size: int, chosen: int) -> tuple[int, ...]:
    """Return the ordered choice with this number of `chosen` different elements of range(size).

    A bijection from range(perm(size, chosen)): the digits of the number in the bases size, size - 1, ... are the ranks
    of the indices among the remaining ones.
    """
    indices: list[int] = []
    for taken in range(chosen):
        number, rank = divmod(number, size - taken)
        for used in sorted(indices):
            rank += used <= rank
        indices.append(rank)
    return tuple(indices)
