"""What an audit says: the lineages with the rows they used, and the first difference if there is one.

Values only; what makes them is beside.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Difference:
    """Something that is not as it must be. expected and found are JSON values; file is where `found` stands."""

    what: str
    path: str
    file: Path
    step: int | None = None
    """Lineage step from which on it is wrong, where it has one."""
    source: str | None = None
    expected: Any = None
    found: Any = None

    def __str__(self) -> str:
        where = "".join(
            [self.path, "" if self.step is None else f" at step {self.step}", f", {self.source}" if self.source else ""]
        )
        values = "" if self.expected is self.found is None else f": expected {self.expected}, found {self.found}"
        return f"{where}: {self.what}{values} ({self.file})"


@dataclass(frozen=True)
class Use:
    """What a lineage used of one epoch of one source: its first `rows` of `epoch_rows` rows, each once."""

    source: str
    epoch: int
    rows: int
    epoch_rows: int
    later_epoch_begun: bool
    """The plan goes on in a later epoch although this one has rows left."""

    @property
    def left_over_rows(self) -> int:
        return self.epoch_rows - self.rows


@dataclass(frozen=True)
class Leg:
    """Steps [start, stop) of a lineage, trained on one path."""

    path: str
    start: int
    stop: int


@dataclass(frozen=True)
class Lineage:
    """A path with its ancestors up to where it forked from them, as far as it is trained and saved."""

    legs: tuple[Leg, ...]
    planned_stop: int
    uses: tuple[Use, ...]
    tokens: int
    """Of the rows that the plan's parts give to these steps."""
    ledger_tokens: int
    """Of the attempts that trained these steps for good."""

    @property
    def path(self) -> str:
        return self.legs[-1].path

    @property
    def stop(self) -> int:
        return self.legs[-1].stop

    @property
    def rows(self) -> int:
        return sum(use.rows for use in self.uses)


@dataclass(frozen=True)
class Audit:
    """The whole run. rows, tokens and ledger_tokens count every path's own steps once, whoever forked from it."""

    run_dir: Path
    lineages: tuple[Lineage, ...]
    rows: int
    tokens: int
    ledger_tokens: int
    spare_steps: int
    """Steps that were lost and trained again, or that are not saved yet: paid for, and part of no lineage."""
    spare_tokens: int
    checkpoints: int
    """Checkpoints whose step, tokens and positions were compared."""
    differences: tuple[Difference, ...]
    """Parents before children; the first one is what the others may follow from."""
    recomputed_rows: int | None = None
    """Rows of all epochs that were worked out one by one; None if that was not asked for."""

    @property
    def ok(self) -> bool:
        return not self.differences
