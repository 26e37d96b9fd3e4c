"""Demonstrations and the prompts they stand in: exact, seeded, independent of how many are wanted."""

from __future__ import annotations

from itertools import islice, permutations
from math import perm

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.base.errors import GenerationError
from lrps.rehearsal.demonstrations import (
    LARGEST,
    Prompts,
    drawing_order,
    ordered_choice,
    permutation_key,
    pool_size,
    possible_generations,
)


@given(st.integers(1, 6), st.integers(1, 4))
def test_every_ordered_choice_has_one_number(size: int, chosen: int) -> None:
    chosen = min(chosen, size)
    found = [ordered_choice(number, size, chosen) for number in range(perm(size, chosen))]
    assert sorted(found) == sorted(permutations(range(size), chosen))


@given(st.integers(2, 10**6), st.data())
def test_a_choice_has_different_demonstrations(size: int, data: st.DataObject) -> None:
    chosen = data.draw(st.integers(1, min(5, size)))
    choice = ordered_choice(data.draw(st.integers(0, perm(size, chosen) - 1)), size, chosen)
    assert len(set(choice)) == chosen
    assert all(0 <= index < size for index in choice)


@given(st.integers(1, 300), st.integers(0, 5))
def test_every_document_is_drawn_once(documents: int, seed: int) -> None:
    assert sorted(drawing_order(documents, seed)) == list(range(documents))


def test_seeds_draw_differently() -> None:
    first, again, other = (list(islice(drawing_order(10**9, seed), 50)) for seed in (1, 1, 2))
    assert first == again != other


class _Joined:
    """A form whose prompts are lists."""

    def prompt(self, demonstrations: list[str], separator: str) -> str:
        return separator.join(demonstrations)


def prompts(count: int, samples: int = 3, seed: int = 0) -> Prompts:
    return Prompts([f"d{k}" for k in range(count)], 2, samples, seed, _Joined(), "+")  # type: ignore[arg-type]


def test_each_ordered_pair_comes_with_all_its_samples() -> None:
    made = prompts(4)
    numbers = made.numbers(0, made.generations)
    asked = [(made.prompt(number), made.seed_of(number)) for number in numbers]
    assert len(set(asked)) == made.generations == 4 * 3 * 3
    expected = {f"d{a}+d{b}" for a, b in permutations(range(4), 2)}
    assert {prompt: [p for p, _ in asked].count(prompt) for prompt, _ in asked} == dict.fromkeys(expected, 3)


@given(st.integers(0, 17), st.integers(0, 18))
def test_a_generation_depends_on_its_place_alone(start: int, stop: int) -> None:
    made = prompts(3)
    assert made.numbers(0, 18)[start:stop] == made.numbers(start, max(start, stop))


def test_what_cannot_be_counted_out_is_cut() -> None:
    assert possible_generations(10**9, 3, 3) == LARGEST
    large = prompts(10**5)
    assert len(set(large.numbers(0, 1000))) == 1000
    enormous = Prompts(range(10**7), 3, 3, 0, _Joined(), "+")  # type: ignore[arg-type]
    assert max(enormous.numbers(0, 100)) < LARGEST


def test_a_pool_has_enough_for_a_prompt() -> None:
    assert [pool_size(n, 0.01, 2, 0) for n in (2, 100, 1000)] == [2, 2, 10]
    assert [pool_size(n, 0.01, 2, 20) for n in (2, 100, 1000, 5000)] == [2, 20, 20, 50]
    assert pool_size(10, 1.0, 2, 20) == 10
    with pytest.raises(GenerationError, match="1 documents are fewer than the 2 demonstrations"):
        pool_size(1, 1.0, 2, 20)


def test_keys_are_what_they_were() -> None:
    """A change here gives other data for the same settings: it takes another MAKER."""
    assert permutation_key("synthesis", 7, 3) == 1745248352622256186
    assert list(islice(drawing_order(1000, 7), 5)) == [591, 693, 512, 618, 268]
