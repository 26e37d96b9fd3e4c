"""Random faults of many kinds, each planted in one attempt at a plan, and what must hold after every one of them.

A kind is a function of a faulty run that makes one attempt; it returns a description of the fault that struck, or None
if the plan was complete before.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from math import inf, nan
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

from lrps.base.errors import INTERRUPTED, NEEDS_DECISION, OUR_FAULT, USER_MISTAKE
from lrps.config.loader import load_config
from lrps.ledger.reader import read_ledger
from support.fault_attempts import LIMIT, Attempt
from support.faults_worker import VERBS, WILD, Plant, read_run, rewind_run

GUARDS: dict[str, dict[int, float]] = {
    "skip": {4: WILD, 9: nan, 13: WILD, 17: inf, 23: WILD, 31: nan, 33: WILD},
    "stop": {},
}
"""Action of the guard -> lineage step -> factor of its loss, in every path and every attempt."""


def all_features(guard: str) -> dict[str, Any]:
    """Return top-level keys of a config with a guard, an average, a released merge, a probe and a held-out curve."""
    return {
        "guard": {"action": guard, "z": 1e6},
        "average": {"ema": {"horizon": 0.5}},
        "evaluation": {"main_every_steps": 10},
        "paradigms": {"path-switching": {"alpha": 0.6, "release_per_version": {"v2": "merge"}}, "cpt": {}},
        "probes": {"p": {"at": {"step": 20}, "steps": 4, "data": {"v2": 1.0}}},
    }


class FaultyRun:
    """One run of a plan under faults. small_disk: whether it is on a file system of its own, which may be filled.

    guard: the action of its config, a key of `GUARDS`.
    """

    def __init__(
        self, server: ForkServerContext, file: Path, rng: random.Random, ranks: int, small_disk: bool, guard: str
    ) -> None:
        self.server, self.file, self.rng, self.ranks, self.small_disk = server, file, rng, ranks, small_disk
        self.guard, self.run_dir = guard, load_config(file).run_dir
        self.struck: Counter[str] = Counter()
        self.complete = False
        self.left_out = 0
        """Number of times that steps were left out, because a message named that."""

    def attempt(self, plant: Plant | None = None) -> Attempt:
        """Begin an attempt, with a plant in one of its ranks."""
        log = self.file.parent / "log"
        log.unlink(missing_ok=True)
        log.touch()
        plants = {} if plant is None else {self.rng.randrange(self.ranks): plant}
        asynchronous = f"checkpoint.asynchronous={str(self.rng.random() < 0.5).lower()}"
        wild = GUARDS[self.guard]
        return Attempt(self.server, self.file, asynchronous, ranks=self.ranks, plants=plants, wild=wild)

    def end(self, attempt: Attempt, *codes: int) -> bool:
        """Wait for the end; True if the plan is complete, and otherwise one of `codes` must be the exit code.

        If a person has to decide, run one of the commands that the message names.
        """
        self.complete = attempt.end()
        found, told = attempt.codes(), attempt.told()
        assert "Traceback" not in told, told[-3000:]
        others = {0, OUR_FAULT, INTERRUPTED} if self.ranks > 1 else set[int]()
        if NEEDS_DECISION in found:
            self.decide(told)
        elif not self.complete:
            assert set(found) & set(codes), (found, told[-3000:])
            assert set(found) <= {*codes, *others}, (found, told[-3000:])
        return self.complete

    def decide(self, told: str) -> None:
        """Take a path back with one of the commands that a message names, as they are."""
        named = re.findall(r"^  lrps rewind CONFIG (\S+ --to \d+(?: --skip-from \d+ --skip-steps \d+)?)$", told, re.M)
        assert named, told[-3000:]
        command = self.rng.choice(sorted(set(named)))
        result, log = self.file.parent / "rewound.json", self.file.parent / "rewind.log"
        words = [str(self.file), *command.split()]
        process = self.server.Process(target=rewind_run, args=(words, log, result))
        process.start()
        process.join(LIMIT)
        assert json.loads(result.read_text()) == 0, (command, log.read_text()[-3000:])
        self.left_out += "--skip-steps" in command
        self.struck["decided"] += 1

    def strike(self) -> None:
        """Make one attempt with a fault of a random kind, and check the run after it."""
        kinds = [kind for kind in KINDS if self.small_disk or kind is not full_disk]
        kind = self.rng.choice(kinds)
        what = kind(self)
        if what is not None:
            self.struck[what] += 1
        self.check_verbs(f"{kind.__name__}, {what}", 0)
        self.check_costs()

    def check_verbs(self, after: str, *allowed: int) -> None:
        """Check that verbs that read the run end with one of these exit codes: a few of them each time."""
        result, log = self.file.parent / "result.json", self.file.parent / "verbs.log"
        log.unlink(missing_ok=True)
        reader = self.server.Process(target=read_run, args=(self.file, self.rng.sample(VERBS, 3), log, result))
        reader.start()
        reader.join(LIMIT)
        codes = json.loads(result.read_text())
        if not any(self.run_dir.glob("*/ledger/*.jsonl")):
            allowed = (0, USER_MISTAKE)  # Nothing was recorded yet.
        assert set(codes.values()) <= set(allowed), (after, codes, log.read_text()[-3000:])
        assert "Traceback" not in log.read_text(), log.read_text()[-3000:]

    def check_costs(self) -> None:
        """Check that no counter of any record is negative."""
        for ledger in self.run_dir.glob("*/ledger"):
            for record in read_ledger(ledger):
                negative = [key for key, value in asdict(record.counters).items() if value is not None and value < 0]
                assert not negative, (ledger, record)

    def cost(self) -> float:
        """Return the allocated seconds in all ledgers, as far as they can be read."""
        spent = 0.0
        for ledger in self.run_dir.glob("*/ledger"):
            for file in sorted(ledger.glob("*.jsonl")):
                lines = [line for line in file.read_bytes().splitlines() if line.endswith(b"}")]
                spent += json.loads(lines[-1])["counters"]["allocated_seconds"] if lines else 0.0
        return spent


def _under_way(run: FaultyRun, attempt: Attempt) -> bool:
    """Wait for a random moment of an attempt; False if it ended before."""
    in_a_save = run.rng.random() < 0.4
    if not attempt.wait_for(run.rng.randrange(1, 8), in_a_save):
        return False
    time.sleep(0 if in_a_save else run.rng.random() / 20)
    return True


def kill(run: FaultyRun) -> str | None:
    """Kill one rank or all of them."""
    attempt = run.attempt()
    victims = run.rng.sample(attempt.ranks, run.rng.choice([1, run.ranks]))
    if _under_way(run, attempt):
        for victim in victims:
            victim.kill()
    saving = attempt.is_saving()
    return None if run.end(attempt, -signal.SIGKILL) else f"SIGKILL {'in a save' if saving else 'between saves'}"


def stop(run: FaultyRun) -> str | None:
    """Ask all ranks to stop."""
    number = run.rng.choice([signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP])
    attempt = run.attempt()
    if _under_way(run, attempt):
        for rank in attempt.ranks:
            if rank.is_alive() and rank.pid is not None:
                os.kill(rank.pid, number)
    return None if run.end(attempt, INTERRUPTED) else number.name


def spoil(run: FaultyRun) -> str | None:
    """Let a weight be NaN before a step."""
    attempt = run.attempt(Plant(run.rng.randrange(1, 12), "nan"))
    if run.end(attempt, OUR_FAULT):
        return None
    assert re.search("loss (on v. )?is nan|has failed [0-9]+ times", attempt.told()), attempt.told()[-2000:]
    return "NaN"


def repeat(run: FaultyRun) -> str | None:
    """Let the same update break the weights in every attempt until a message names the commands to choose from."""
    plant = Plant(run.rng.randrange(1, 40), "break")
    for number in range(1, 7):
        before = run.struck["decided"]
        attempt = run.attempt(plant)
        if run.end(attempt, OUR_FAULT):
            return None if number == 1 else "broken update, passed"
        if run.struck["decided"] > before:
            return "broken update, decided"
    raise AssertionError(attempt.told()[-3000:])


def spike(run: FaultyRun) -> str | None:
    """Let a loss be finite and wild once, where the guard stops at it."""
    if run.guard != "stop":
        return kill(run)
    attempt = run.attempt(Plant(run.rng.randrange(4, 16), "spike"))
    if run.end(attempt):
        return None
    assert "is a spike" in attempt.told(), attempt.told()[-2000:]
    return "spike"


def jump(run: FaultyRun) -> str | None:
    """Let the clock jump, by seconds or by years, and kill the ranks later."""
    seconds = run.rng.choice([-1, 1]) * 10 ** run.rng.uniform(0, 8)
    before, began = run.cost(), time.monotonic()
    attempt = run.attempt(Plant(run.rng.randrange(1, 6), "clock", seconds))
    if _under_way(run, attempt):
        for rank in attempt.ranks:
            rank.kill()
    if run.end(attempt, -signal.SIGKILL):
        return None
    assert run.cost() - before <= (time.monotonic() - began) * run.ranks + 0.1, "no second more than have passed"
    return f"clock {'back' if seconds < 0 else 'forward'}"


def full_disk(run: FaultyRun) -> str | None:
    """Leave a few pages of the file system, so that some write is cut short; make room after the attempt."""
    ballast, leave = run.run_dir.parent / "ballast", run.rng.randrange(1, 64) * 4096
    disk = os.statvfs(ballast.parent)
    with open(ballast, "wb") as file:
        file.write(bytes(max(0, disk.f_bavail * disk.f_frsize - leave)))
    try:
        attempt = run.attempt()
        complete = run.end(attempt, USER_MISTAKE)
    finally:
        ballast.unlink()
    if complete:
        return None
    assert re.search("No space left|disk is full", attempt.told()), attempt.told()[-2000:]
    return "full disk"


def flip(run: FaultyRun) -> str | None:
    """Flip a bit of a file of the run; an attempt refuses it or continues, and the bit is flipped back."""
    files = [file for file in sorted(run.run_dir.rglob("*")) if file.is_file() and file.stat().st_size]
    hidden = re.compile(r"/(report|lock|\.[^/]*)(/|$)")
    by_name: dict[str, list[Path]] = {}
    for file in (file for file in files if not hidden.search(file.relative_to(run.run_dir.parent).as_posix())):
        by_name.setdefault(file.name, []).append(file)
    if not by_name:
        return kill(run)
    file = run.rng.choice(by_name[run.rng.choice(sorted(by_name))])
    with _flipped(file, run.rng):
        run.check_verbs(f"a flipped bit in {file}", 0, USER_MISTAKE)
        attempt = run.attempt()
        if _under_way(run, attempt):
            for rank in attempt.ranks:
                if rank.is_alive() and rank.pid is not None:
                    os.kill(rank.pid, signal.SIGTERM)
        run.end(attempt, INTERRUPTED, USER_MISTAKE)
        refused = USER_MISTAKE in attempt.codes()
    return (
        f"bit of a {file.name if file.suffix != '.safetensors' else 'fragment'}, {'refused' if refused else 'passed'}"
    )


@contextmanager
def _flipped(file: Path, rng: random.Random) -> Iterator[None]:
    """Flip a bit of a file in place; afterwards flip it back, unless the file was replaced or is gone."""
    before = file.read_bytes()
    position = rng.randrange(len(before))
    after = bytes([before[position] ^ (1 << rng.randrange(8))])

    def put(byte: bytes) -> None:
        file.chmod(0o644)
        with open(file, "r+b") as opened:
            opened.seek(position)
            opened.write(byte)

    put(after)
    try:
        yield
    finally:
        damaged = before[:position] + after + before[position + 1 :]
        if file.exists() and file.read_bytes()[: len(before)] == damaged:
            put(before[position : position + 1])


KINDS: tuple[Callable[[FaultyRun], str | None], ...] = (
    *(kill, kill, kill, stop, stop, jump, full_disk),
    *(flip, flip, spoil, spoil, repeat, spike, spike),
)
