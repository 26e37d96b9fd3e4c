"""Makes three tasks of short instruction pairs for tools/forgetting.py, by a seed: nothing is downloaded or copied.

Outputs have several words, so that ROUGE-L tells a part of an answer from none; test pairs occur in no training set.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_WORDS = (
    "apple bread candle door engine flower garden hammer island jacket kettle lemon mirror needle orange pencil "
    "quilt ribbon saddle ticket umbrella velvet window yellow zebra bottle carpet dragon feather guitar"
)
_NAMES = "Anna Boris Clara David Emma Felix Greta Hugo Irene Jonas Karin Louis Maria Nils Olga Peter"
_PLACES = "Paris Rome Oslo Madrid Vienna Lisbon Dublin Athens Berlin Prague Warsaw Helsinki"
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday"
_VERBS = "open close clean paint move sell wash lift carry hide repair break"


def _sorted_words(draw: random.Random) -> tuple[str, str]:
    words = draw.sample(_WORDS.split(), 4)
    return " ".join(words), " ".join(sorted(words))


def _request(draw: random.Random) -> tuple[str, str]:
    verb, first, second, name = (
        draw.choice(_VERBS.split()),
        *draw.sample(_WORDS.split(), 2),
        draw.choice(_NAMES.split()),
    )
    order = f"{verb} the {first} and the {second}"
    return f"{name}, {order}!", f"Could you please {order}, {name}?"


def _facts(draw: random.Random) -> tuple[str, str]:
    name, place, day, thing = (draw.choice(each.split()) for each in (_NAMES, _PLACES, _DAYS, _WORDS))
    text = f"On {day} {name} brought a {thing} to {place}."
    return text, f"who: {name}; where: {place}; when: {day}; what: {thing}"


@dataclass(frozen=True)
class Task:
    """One task: its definition, and how a pair of it is drawn."""

    name: str
    definition: str
    pair: Callable[[random.Random], tuple[str, str]]


TASKS = (
    Task("t1", "Sort the words alphabetically.", _sorted_words),
    Task("t2", "Turn the order into a polite question.", _request),
    Task("t3", "List the facts of the sentence.", _facts),
)


def write_tasks(folder: Path, pairs: int, test_pairs: int, seed: int = 0) -> None:
    """Write NAME.jsonl for training and NAME-test.jsonl of every task; no pair occurs twice in a task."""
    folder.mkdir(parents=True, exist_ok=True)
    for task in TASKS:
        draw, found = random.Random(f"{seed} {task.name}"), dict[str, str]()
        while len(found) < pairs + test_pairs:
            found.setdefault(*task.pair(draw))
        records = [{"task": task.definition, "input": given, "output": wanted} for given, wanted in found.items()]
        for name, some in ((task.name, records[:pairs]), (f"{task.name}-test", records[pairs:])):
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in some))
