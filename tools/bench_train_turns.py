"""Programs that are alive together and train in turns: their processes, and the blocks of steps that they took.

A noisy neighbour, a hot machine or a slow disk hits all programs alike, because a round lets each of them take one
block of the same number of steps; ratios are medians over rounds. Must not import torch.
"""

from __future__ import annotations

import json
import os
import re
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench_train_setup import Case

WORKER = Path(__file__).with_name("bench_train_worker.py")
WARM_UP_STEPS = 3
START_SECONDS = 600.0


class ProgramError(Exception):
    """A program ended or fell silent; says the end of what it printed."""


@dataclass(frozen=True)
class Contestant:
    """A program with a case. label: what it is called in results."""

    label: str
    program: str
    case: Case


@dataclass(frozen=True)
class Block:
    """Some steps of a program. Seconds of a step; of CPU time, over all ranks and threads."""

    steps: int
    wall: float
    cpu: float
    spent: dict[str, float]
    """What the first rank says of a step: data, step, logging."""
    peak_bytes: int
    """Of one process, the largest one, since the first block."""


@dataclass
class Found:
    """What is known of a contestant; blocks are in the order of rounds."""

    contestant: Contestant
    blocks: list[Block] = field(default_factory=list)
    ledger: dict[str, float] = field(default_factory=dict)
    failure: str | None = None

    @property
    def step_seconds(self) -> float:
        return median(block.wall for block in self.blocks)

    @property
    def tokens_per_second(self) -> float:
        return self.contestant.case.tokens / self.step_seconds

    @property
    def spread(self) -> float:
        """Distance between the quartiles of the blocks' step times, as a share of the median."""
        walls = sorted(block.wall for block in self.blocks)
        return (walls[len(walls) * 3 // 4] - walls[len(walls) // 4]) / self.step_seconds

    def ratio(self, other: Found, clock: str = "wall") -> float | None:
        """Of step times to those of `other`, round by round: the median; None where one has no blocks."""
        pairs = zip(self.blocks, other.blocks, strict=False)
        ratios = [getattr(mine, clock) / getattr(its, clock) for mine, its in pairs]
        return median(ratios) if ratios else None


class Running:
    """The processes of one contestant."""

    def __init__(self, contestant: Contestant, root: Path, scratch: Path, threads: int) -> None:
        self.contestant = contestant
        directory = scratch / contestant.label.replace(" ", "-").replace("/", "-")
        directory.mkdir(parents=True)
        self._logs, self._processes, self._pipes = [], [], []
        port = _free_port()
        for rank in range(contestant.case.ranks):
            log, (reading, writing) = directory / f"rank-{rank}.log", os.pipe()
            arguments = [contestant.program, root, directory / "runs", writing, json.dumps(contestant.case.to_json())]
            with open(log, "wb") as output:
                process = subprocess.Popen(
                    [sys.executable, str(WORKER), *map(str, arguments)],
                    env=_environment(rank, contestant.case.ranks, port, threads),
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    pass_fds=[writing],
                )
            os.close(writing)
            self._logs.append(log)
            self._processes.append(process)
            self._pipes.append(os.fdopen(reading, "rb"))

    def answers(self, seconds: float) -> list[dict[str, Any]]:
        """The next line of every rank. ProgramError if one ends, or says nothing for so long."""
        found: dict[int, dict[str, Any]] = {}
        limit = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            for rank, pipe in enumerate(self._pipes):
                selector.register(pipe, selectors.EVENT_READ, rank)
            while len(found) < len(self._pipes):
                ready = selector.select(max(0.0, limit - time.monotonic()))
                if not ready:
                    raise ProgramError(f"said nothing for {seconds:.0f} s; the last line it printed: {self._tail(0)}")
                for key, _ in ready:
                    line = self._pipes[key.data].readline()
                    if not line:
                        raise ProgramError(self._tail(key.data))
                    found[key.data] = json.loads(line)
                    selector.unregister(key.fileobj)
        return [found[rank] for rank in sorted(found)]

    def take(self, steps: int, seconds: float) -> Block:
        self._order(steps)
        told = self.answers(seconds)
        return Block(
            steps=steps,
            wall=max(each["wall"] for each in told) / steps,
            cpu=sum(each["cpu"] for each in told) / steps,
            spent={what: total / steps for what, total in told[0]["spent"].items()},
            peak_bytes=max(each["peak_bytes"] for each in told),
        )

    def end(self, seconds: float) -> dict[str, float]:
        """Let it come to its end; what the ledger says, of lrps."""
        self._order(0)
        ledger: dict[str, float] = {}
        first = self.answers(seconds)[0]
        if "ledger" in first:
            ledger = first["ledger"]
        return ledger

    def kill(self) -> None:
        for process, pipe in zip(self._processes, self._pipes, strict=True):
            process.kill()
            process.wait()
            pipe.close()

    def _order(self, steps: int) -> None:
        try:
            for process in self._processes:
                assert process.stdin is not None
                process.stdin.write(b"%d\n" % steps)
                process.stdin.flush()
        except BrokenPipeError:
            raise ProgramError(self._tail(0)) from None

    def _tail(self, rank: int) -> str:
        """The error, or the end of what was printed."""
        lines = [line.strip() for line in self._logs[rank].read_text(errors="replace").splitlines() if line.strip()]
        errors = [line for line in lines if re.match(r"[\w.]*(Error|Exit|Exception)\b", line.split("]: ")[-1])]
        return (errors or lines or ["it printed nothing"])[-1]


def take_turns(
    contestants: Sequence[Contestant],
    root: Path,
    scratch: Path,
    *,
    blocks: int,
    seconds: float,
    threads: int,
    deadline: float,
    told: Callable[[str, list[Found]], None],
) -> list[Found]:
    """Start them together, let them train in turns, end them. One that fails is left out from there on.

    seconds: of measuring, for each. deadline: of `time.monotonic()`; what is there by then is what is found. told:
    called at the start and after every round, with what is found so far.
    """
    found = [Found(each) for each in contestants]
    with ExitStack() as held:
        running: list[tuple[Running, Found]] = []
        for each in found:
            process = Running(each.contestant, root, scratch, threads)
            held.callback(process.kill)
            running.append((process, each))
        told("starting", found)
        left = lambda: max(1.0, min(START_SECONDS, deadline - time.monotonic()))  # noqa: E731
        _each(running, lambda process, _: process.answers(left()))
        _each(running, lambda process, _: process.take(WARM_UP_STEPS, left()))
        steps = _steps_of_a_block(running, seconds / blocks, blocks, left)
        for number in range(blocks):
            if time.monotonic() >= deadline:
                break
            order = running[number % len(running) :] + running[: number % len(running)] if running else []
            dead = _each(order, lambda process, its: its.blocks.append(process.take(steps, left())))
            running = [pair for pair in running if pair[1] not in dead]
            told(f"round {number + 1} of {blocks}", found)
        _each(running, lambda process, its: its.ledger.update(process.end(left())))
    return found


def _steps_of_a_block(
    running: list[tuple[Running, Found]], seconds: float, blocks: int, left: Callable[[], float]
) -> int:
    """As many as the quickest program takes in so many seconds."""
    walls: list[float] = []
    _each(running, lambda process, _: walls.append(process.take(2, left()).wall))
    room = min((its.contestant.case.steps for _, its in running), default=blocks)
    fitting = (room - WARM_UP_STEPS - 4) // blocks
    return max(1, min(fitting, round(seconds / min(walls, default=seconds))))


def _each(running: list[tuple[Running, Found]], act: Callable[[Running, Found], Any]) -> list[Found]:
    """Do it with each in turn; those that failed are removed from the list, and returned."""
    dead = []
    for pair in list(running):
        try:
            act(*pair)
        except ProgramError as failure:
            pair[1].failure = str(failure)
            pair[0].kill()
            running.remove(pair)
            dead.append(pair[1])
    return dead


def in_waves(contestants: Sequence[Contestant], together: int) -> Iterator[Sequence[Contestant]]:
    """The first one is in every wave, for it is what the others are compared with; so many are alive at a time."""
    if len(contestants) <= together:
        yield contestants
        return
    first, others = contestants[0], contestants[1:]
    for start in range(0, len(others), together - 1):
        yield [first, *others[start : start + together - 1]]


def _environment(rank: int, ranks: int, port: int, threads: int) -> dict[str, str]:
    group = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    quiet = {"OMP_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "false"}
    return os.environ | {name: str(value) for name, value in (group | quiet).items()}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
