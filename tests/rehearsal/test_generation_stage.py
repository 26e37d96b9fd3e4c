"""Stages in which a model writes: stopped anywhere, they go on to the same completions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrps.rehearsal.generation_stage import CHUNK_BATCHES, GenerationStage
from lrps.rehearsal.generator import Completion
from lrps.rehearsal.sampling import Sampling
from lrps.rehearsal.stage_file import StageCosts, StageFile


class Killed(BaseException):
    """What a generator dies of here."""


class Echo:
    """Says which prompts were asked together, as rounding could, and dies after some calls."""

    def __init__(self, lives: int = 10**9) -> None:
        self.lives, self.asked = lives, 0

    def generate(self, prompts: Sequence[str], sampling: Sampling, seeds: Sequence[int]) -> list[Completion]:
        if not self.lives:
            raise Killed
        self.lives -= 1
        self.asked += len(prompts)
        return [
            Completion(f"{prompt}/{seed} of {prompts[0]}..{prompts[-1]}", seed)
            for prompt, seed in zip(prompts, seeds, strict=True)
        ]


def write(directory: Path, generator: Echo, total: int, available: int, batch: int = 1) -> list[Completion]:
    file = StageFile(directory, "synthesis", {})
    writing = GenerationStage(lambda: generator, Sampling(4), batch, file, StageCosts(directory / "costs.jsonl"))
    shown: list[int] = []
    found = writing.run(lambda number: (str(number), number), total, available, shown.append)
    assert sum(shown) >= total
    return found


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(0, 10), st.lists(st.integers(0, 3), max_size=4), st.integers(1, 2))
def test_whoever_is_killed_goes_on(
    tmp_path_factory: pytest.TempPathFactory, total: int, more: int, lives: list[int], batch: int
) -> None:
    root = tmp_path_factory.mktemp("writing")
    straight = write(root / "straight", Echo(), total, total + more, batch)
    assert [one.tokens for one in straight] == list(range(total))
    asked = 0
    for each in [*lives, 10**9]:
        generator = Echo(each)
        try:
            assert write(root / "killed", generator, total, total + more, batch) == straight
        except Killed:
            assert each < 10**9
        asked += generator.asked
    chunk = batch * CHUNK_BATCHES
    assert asked == min(-(-total // chunk) * chunk, total + more), "nothing is generated twice"


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.integers(0, 10))
def test_a_larger_total_goes_on(tmp_path_factory: pytest.TempPathFactory, total: int, more: int) -> None:
    root, available = tmp_path_factory.mktemp("writing"), 41
    first = write(root / "grown", Echo(), total, available)
    grown = write(root / "grown", Echo(), total + more, available)
    assert grown == write(root / "straight", Echo(), total + more, available)
    assert grown[:total] == first


def test_no_model_is_opened_for_what_is_there(tmp_path: Path) -> None:
    write(tmp_path, Echo(), 4, 4)
    file = StageFile(tmp_path, "synthesis", {})

    def never() -> Echo:
        raise AssertionError

    found = GenerationStage(never, Sampling(4), 1, file, StageCosts(tmp_path / "costs.jsonl")).run(
        lambda n: ("", n), 4, 4, print
    )
    assert [one.tokens for one in found] == [0, 1, 2, 3]


def test_what_was_spent_is_noted(tmp_path: Path) -> None:
    write(tmp_path, Echo(), 6, 6)
    key = StageFile(tmp_path, "synthesis", {}).key
    booking = StageCosts(tmp_path / "costs.jsonl").ledger_facts({key})
    assert booking["tokens"] == sum(range(6))
    assert booking.keys() == {"tokens", "synthesis_seconds"}
