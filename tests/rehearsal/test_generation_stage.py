"""Stages in which a model writes: stopped anywhere, they go on to the same completions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrps.rehearsal.generation_stage import CHUNK_BATCHES, GenerationStage, Requests
from lrps.rehearsal.generator import Completion
from lrps.rehearsal.sampling import Sampling
from lrps.rehearsal.share import GenerationShare
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


def numbered(total: int, available: int) -> Requests:
    return Requests(lambda number: (str(number), number), total, available)


def write(root: Path, generator: Echo, total: int, available: int, batch: int = 1, name: str = "r") -> list[Completion]:
    """Write a set of the run `root`; the sets of other runs are no concern of it."""
    directory = root / name
    file = StageFile(directory, "synthesis", {})
    writing = GenerationStage(lambda: generator, Sampling(4), batch, file, StageCosts(directory))
    shown: list[int] = []
    found = writing.run(numbered(total, available), shown.append)
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
    file = StageFile(tmp_path / "r", "synthesis", {})

    def never() -> Echo:
        raise AssertionError

    found = GenerationStage(never, Sampling(4), 1, file, StageCosts(tmp_path)).run(numbered(4, 4), print)
    assert [one.tokens for one in found] == [0, 1, 2, 3]


def test_what_was_spent_is_noted(tmp_path: Path) -> None:
    write(tmp_path, Echo(), 6, 6)
    key = StageFile(tmp_path / "r", "synthesis", {}).key
    booking = StageCosts(tmp_path / "r").ledger_facts({key})
    assert booking["tokens"] == sum(range(6))
    assert booking.keys() == {"tokens", "synthesis_seconds"}


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 60), st.integers(0, 9), st.integers(1, 4), st.integers(1, 3), st.integers(0, 20), st.integers(0, 2)
)
def test_shares_of_machines_are_the_file_of_one(
    tmp_path_factory: pytest.TempPathFactory, total: int, more: int, of: int, parts: int, begun: int, batch: int
) -> None:
    """Also in parts of a share, after one machine has begun alone, and with deaths in between."""
    root, available, batch = tmp_path_factory.mktemp("writing"), total + more, batch + 1
    straight = write(root / "straight", Echo(), total, available, batch)
    write(root / "shared", Echo(), min(begun, total), available, batch)
    file = StageFile(root / "shared" / "r", "synthesis", {})
    requests = numbered(total, available)

    def stage(generator: Echo) -> GenerationStage:
        return GenerationStage(lambda: generator, Sampling(4), batch, file, StageCosts(root / "shared" / "r"))

    shares = [GenerationShare(number, of).part(part, parts) for number in range(of) for part in range(parts)]
    for number, share in enumerate(shares):
        assert stage(Echo(0)).collect(requests) in (None, straight)
        for lives in (number % 2, 10**9):
            try:
                stage(Echo(lives)).run_share(requests, share, lambda _: None)
            except Killed:
                assert lives < 10**9
    assert stage(Echo(0)).collect(requests) == straight
    for division in {1, of, of * parts + 1}:
        for number in range(division):
            stage(Echo(0)).run_share(requests, GenerationShare(number, division), lambda _: None)
    assert stage(Echo(0)).collect(requests) == straight, "another division generates nothing again"
    assert write(root / "shared", Echo(0), total, available, batch) == straight, "no model is asked again"
    assert file.path.read_bytes() == (root / "straight" / "r" / file.path.name).read_bytes()


def test_sets_with_the_same_generations_share_them(tmp_path: Path) -> None:
    written = write(tmp_path, Echo(), 20, 60, name="one")
    assert write(tmp_path, Echo(0), 8, 60, name="other") == written[:8]
    file = StageFile(tmp_path / "third", "synthesis", {})
    third = GenerationStage(lambda: Echo(0), Sampling(4), 1, file, StageCosts(tmp_path / "third"))
    third.run_share(numbered(20, 60), GenerationShare(0, 2), lambda _: None)
    assert third.collect(numbered(20, 60)) == written, "shares find them too"
    grown = write(tmp_path, Echo(), 40, 60, name="other")
    assert write(tmp_path, Echo(0), 40, 60, name="one") == grown
