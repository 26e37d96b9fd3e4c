"""Result of an audit as values: the lineages with the rows that they used, and the differences that were found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Difference:
    """A contradiction in the run directory."""

    what: str
    """Description of the contradiction."""
    path: str
    """Name of the training path."""
    file: Path
    """File that contains `found`."""
    step: int | None = None
    """First lineage step that is affected; None if it affects no particular step."""
    source: str | None = None
    """Name of the source; None if it affects no particular source."""
    expected: Any = None
    """Expected value, as JSON."""
    found: Any = None
    """Value found instead, as JSON."""

    def __str__(self) -> str:
        where = "".join(
            [self.path, "" if self.step is None else f" at step {self.step}", f", {self.source}" if self.source else ""]
        )
        values = "" if self.expected is self.found is None else f": expected {self.expected}, found {self.found}"
        return f"{where}: {self.what}{values} ({self.file})"


@dataclass(frozen=True)
class Use:
    """The rows of one epoch of a set of shards that a lineage used, each once.

    They are the first ones of the epoch; of a part of a mixture there may be gaps before `reached`, where the lineage
    went on in a later epoch of the mixture.
    """

    source: str
    """Name of the source; of a mixture, that of the part's shards."""
    epoch: int
    rows: int
    """Number of rows that were used."""
    epoch_rows: int
    """Number of rows of the epoch."""
    reached: int
    """Number of rows of the epoch up to the last one that was used."""
    later_epoch_begun: bool
    """Whether the plan continues in a later epoch although this one has rows left."""
    skipped_rows: int = 0
    """Number of the rows that were read by steps that passed without an update: they were not trained on."""

    @property
    def left_over_rows(self) -> int:
        """Number of rows of the epoch that were not used."""
        return self.epoch_rows - self.rows


@dataclass(frozen=True)
class Leg:
    """Steps [start, stop) of a lineage, trained on one path."""

    path: str
    start: int
    stop: int
    history: int | None = None
    """Number of the path's newest amendment then, see paths/amendments.py; None for its newest history."""
    before_amendment: int | None = None
    """Number of the amendment that has ended this history; None if it is in force."""


@dataclass(frozen=True)
class Lineage:
    """A path up to its newest saved state, with its ancestors up to the forks."""

    legs: tuple[Leg, ...]
    """Parts of the lineage, oldest first; the last one is the path itself."""
    planned_stop: int
    """Lineage step at which the path ends by plan."""
    uses: tuple[Use, ...]
    """Rows used of every epoch of every source."""
    tokens: int
    """Number of tokens of the rows that the paths' segments assign to these steps."""
    ledger_tokens: int
    """Number of tokens that the ledgers count for the attempts that trained these steps."""

    @property
    def path(self) -> str:
        """Name of the path."""
        return self.legs[-1].path

    @property
    def stop(self) -> int:
        """Lineage step of the path's newest saved state."""
        return self.legs[-1].stop

    @property
    def rows(self) -> int:
        """Number of rows that the lineage used."""
        return sum(use.rows for use in self.uses)

    @property
    def skipped_rows(self) -> int:
        """Number of these rows that were read by steps that passed without an update."""
        return sum(use.skipped_rows for use in self.uses)


@dataclass(frozen=True)
class Audit:
    """Result of the audit of a run.

    rows, tokens and ledger_tokens count the own steps of every path once, however many paths forked from it.
    """

    run_dir: Path
    lineages: tuple[Lineage, ...]
    """Lineage of every path that has a saved state of its own."""
    rows: int
    """Number of rows that the segments assign to the steps of all paths."""
    tokens: int
    """Number of tokens of these rows."""
    ledger_tokens: int
    """Number of tokens that the ledgers count for the same steps."""
    spare_steps: int
    """Number of steps that are part of no lineage: they were lost and trained again, or are not saved yet."""
    spare_tokens: int
    """Number of tokens of these steps."""
    checkpoints: int
    """Number of checkpoints whose step, tokens and positions were compared."""
    digests: int
    """Number of checkpoints and starts of attempts whose rates and data were proved to be those of path.json."""
    without_digest: int
    """Number of those that earlier versions of lrps recorded without a digest: their rates are not proved."""
    differences: tuple[Difference, ...]
    """Contradictions, parents before children. Later ones may be consequences of the first one."""
    skipped_steps: int = 0
    """Number of steps of all paths that passed without an update: their rows were read, but not trained on."""
    recomputed_rows: int | None = None
    """Number of rows that were computed one by one; None if this was not requested."""

    @property
    def ok(self) -> bool:
        """Whether the proof is complete: there is no difference."""
        return not self.differences
