"""Results of tools/gpu_proof.py: every attempt at a step, in a file that is written after each, and what is proven.

Must not import torch.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from rich.table import Table

from lrps.base.files import atomic_write_json

FORMAT = "lrps-gpu-proof/1"
Status = Literal["proven", "rehearsed", "refuted", "failed", "out of time", "left out"]
DONE = ("proven", "rehearsed")
REHEARSED = "a rehearsal with tiny models on CPUs: nothing is proven about a GPU"
ALL_DONE, REFUTED, WRONG_CALL, UNPROVEN = 0, 1, 2, 3
"""Exit codes: every step is done; a claim does not hold or a step failed; the call was wrong; time was short."""


@dataclass(frozen=True)
class Attempt:
    """One attempt at a step, and what it found."""

    step: str
    status: Status
    seconds: float
    """Wall time of its commands."""
    limit_seconds: float
    machine: Mapping[str, Any]
    """Device and versions on which it ran."""
    source: str
    """Digest of the code of lrps and of the tools."""
    commands: list[list[str]] = field(default_factory=list)
    claims: dict[str, dict[str, Any]] = field(default_factory=dict)
    targets: dict[str, dict[str, Any]] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    tail: str = ""
    """End of the output, of an attempt that is not done."""

    def counts_on(self, machine: Mapping[str, Any]) -> bool:
        """Return whether the step is done on this device, with these versions."""
        return self.status in DONE and self.machine == machine


class ResultsError(Exception):
    """A file of results that cannot be continued; says why, and how to fix it."""


class Results:
    """The attempts in one file. The last attempt at a step counts."""

    def __init__(self, file: Path, rehearsal: bool) -> None:
        """Read what earlier calls have left. Raises ResultsError if the file is of another kind."""
        self.file, self.rehearsal = file, rehearsal
        self.attempts: list[Attempt] = []
        if file.exists():
            self.attempts = _read(file, rehearsal)

    def add(self, attempt: Attempt) -> None:
        """Add an attempt, and write the file."""
        self.attempts.append(attempt)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        content = {"format": FORMAT, "rehearsal": self.rehearsal, "attempts": [asdict(each) for each in self.attempts]}
        atomic_write_json(self.file, content | ({"proves": REHEARSED} if self.rehearsal else {}))

    def last(self, step: str) -> Attempt | None:
        """Return the last attempt at a step that was begun; one that was left out, only if there is no other."""
        tries = [attempt for attempt in self.attempts if attempt.step == step]
        begun = [attempt for attempt in tries if attempt.status != "left out"]
        return next(reversed(begun or tries), None)

    def exit_code(self, steps: Iterable[str], machine: Mapping[str, Any]) -> int:
        """Return the exit code for these steps, by what is proven on this device with these versions."""
        attempts = [self.last(step) for step in steps]
        if any(attempt is not None and attempt.status in ("refuted", "failed") for attempt in attempts):
            return REFUTED
        done = all(attempt is not None and attempt.counts_on(machine) for attempt in attempts)
        return ALL_DONE if done else UNPROVEN


def _read(file: Path, rehearsal: bool) -> list[Attempt]:
    fix = "give another file with --out, or move this one away"
    try:
        content = json.loads(file.read_text())
        if content["format"] != FORMAT:
            raise ResultsError(f"{file}: its format is {content['format']!r}, not {FORMAT!r}; {fix}")
        if content["rehearsal"] != rehearsal:
            what = "of a rehearsal" if content["rehearsal"] else "of a GPU"
            raise ResultsError(f"{file}: holds results {what}; {fix}")
        return [Attempt(**attempt) for attempt in content["attempts"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ResultsError(f"{file}: is no file of results ({error}); {fix}") from error


def status_of(code: int | None, claims: Mapping[str, Mapping[str, Any]], rehearsal: bool) -> Status:
    """Return the status of a step from the exit code of its last command, None at the time limit, and its claims."""
    if not all(claim["holds"] for claim in claims.values()):
        return "refuted"
    if code is None:
        return "out of time"
    if code != 0 or not claims:
        return "failed"
    return "rehearsed" if rehearsal else "proven"


def machine(device: str) -> dict[str, Any]:
    """Return the device and the versions that a proof holds for."""
    packages = {}
    for name in ("torch", "deepspeed", "transformers", "accelerate"):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = "not installed"
    return {"device": device, "python": platform.python_version(), **packages}


def source_digest(root: Path) -> str:
    """Return a digest of the Python files of lrps and of the tools."""
    digest = hashlib.sha256()
    for folder in ("lrps", "tools"):
        for file in sorted((root / folder).rglob("*.py")):
            digest.update(f"{file.relative_to(root)}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def table(results: Results, steps: Iterable[str], source: str) -> Table:
    """Return the table of the last attempts: status, time, claims, targets."""
    shown = Table(title=f"{results.file}: {REHEARSED}" if results.rehearsal else str(results.file))
    for heading in ("step", "status", "s", "claims", "targets", "what does not hold"):
        shown.add_column(heading)
    for step in steps:
        attempt = results.last(step)
        if attempt is None:
            shown.add_row(step, "not tried")
            continue
        older = ", by other code" if attempt.source != source and attempt.status in DONE else ""
        claims = [claim["holds"] for claim in attempt.claims.values()]
        targets = [target["met"] for target in attempt.targets.values()]
        wrong = [f"{name}: {claim['said']}" for name, claim in attempt.claims.items() if not claim["holds"]]
        wrong += [f"target {name}: {each['said']}" for name, each in attempt.targets.items() if not each["met"]]
        if attempt.tail and not wrong:
            wrong = attempt.tail.splitlines()[-1:]
        counts = (f"{sum(found)} of {len(found)}" if found else "" for found in (claims, targets))
        shown.add_row(step, attempt.status + older, f"{attempt.seconds:.0f}", *counts, "\n".join(wrong)[:600])
    return shown
