"""Shares of machines and of their processes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.base.errors import ConfigError
from lrps.rehearsal.processes import threads_each
from lrps.rehearsal.share import GenerationShare


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 60))
def test_every_chunk_is_in_one_part_of_one_share(of: int, parts: int, chunks: int) -> None:
    numbers = list(range(chunks))
    found = []
    for number in range(1, of + 1):
        share = GenerationShare.parse(f"{number}/{of}")
        own = numbers[share.number :: share.of]
        pieces = [share.part(part, parts) for part in range(parts)]
        divided = [number for piece in pieces for number in numbers[piece.number :: piece.of]]
        assert sorted(divided) == own
        found += own
    assert sorted(found) == numbers


@pytest.mark.parametrize("text", ["", "0/2", "3/2", "1", "1/0", "a/b", "-1/2"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="give the number of this machine and of all, such as 1/4"):
        GenerationShare.parse(text)


def test_processes_divide_the_cores() -> None:
    cores = threads_each(1)
    assert [threads_each(number) for number in (cores, 2 * cores)] == [1, 1]
    assert threads_each(2) == max(1, cores // 2)
