"""Which documents are demonstrations, and which of them stand in the prompt of which generation. Exact and seeded.

All randomness is a keyed permutation, so that each generation is a function of its number: how many are wanted does not
change any of them. Must not import torch.
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
"""Takes a new number when the same settings would give other data."""
LARGEST = 2**61
"""Generations that a permutation is made over; of more choices only the first so many are ever taken."""


def key(*parts: str | int) -> int:
    """A 63-bit number that depends on nothing but the parts."""
    digest = hashlib.blake2b(json.dumps([MAKER, *parts]).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def pool_size(documents: int, share: float, in_a_prompt: int) -> int:
    """How many demonstrations are drawn. GenerationError if there are not enough documents for one prompt."""
    if documents < in_a_prompt:
        raise GenerationError(
            f"{documents} documents are not the {in_a_prompt} demonstrations of a prompt; lower "
            "synthesis.demonstrations, or rehearse a larger version"
        )
    return max(in_a_prompt, round(share * documents))


def drawing_order(documents: int, seed: int) -> Iterator[int]:
    """The numbers of all documents in a seeded order."""
    permutation = Permutation(documents, key("demonstrations", seed))
    for start in range(0, documents, 2**16):
        yield from permutation(np.arange(start, min(start + 2**16, documents))).tolist()


@dataclass(frozen=True)
class Prompts:
    """The prompts of all generations: each ordered choice of `chosen` out of `demonstrations`, `samples` times."""

    demonstrations: Sequence[str]
    chosen: int
    samples: int
    seed: int
    form: InstanceFormat
    separator: str

    @property
    def generations(self) -> int:
        return all_generations(len(self.demonstrations), self.chosen, self.samples)

    def numbers(self, start: int, stop: int) -> list[int]:
        """Generations start .. stop of the seeded order, as numbers below `generations`."""
        permutation = Permutation(self.generations, key("generations", self.seed))
        found: list[int] = permutation(np.arange(start, stop)).tolist()
        return found

    def prompt(self, number: int) -> str:
        choice = ordered_choice(number // self.samples, len(self.demonstrations), self.chosen)
        return self.form.prompt([self.demonstrations[index] for index in choice], self.separator)

    def seed_of(self, number: int) -> int:
        return key("synthesis", self.seed, number)


def all_generations(demonstrations: int, chosen: int, samples: int) -> int:
    """Every ordered choice, `samples` times; at most LARGEST."""
    return min(perm(demonstrations, chosen) * samples, LARGEST)


def ordered_choice(number: int, size: int, chosen: int) -> tuple[int, ...]:
    """Ordered choice `number` of `chosen` different ones of range(size): a bijection from range(perm(size, chosen)).

    The digits of the number in falling bases, each the rank of an index among those that are left.
    """
    indices: list[int] = []
    for taken in range(chosen):
        number, rank = divmod(number, size - taken)
        for used in sorted(indices):
            rank += used <= rank
        indices.append(rank)
    return tuple(indices)
