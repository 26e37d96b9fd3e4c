"""Sizes of the data of a plan: the rows of every increment and rehearsal set."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor


@dataclass(frozen=True)
class Increment:
    """The new rows of one version."""

    version: str
    """Name of the version."""
    rows: int
    """Number of rows of an epoch."""
    steps: int
    """Number of whole optimizer steps: T_k = floor(epochs x rows / batch) in docs/method.md. Only these are trained."""
    epochs: Fraction = Fraction(1)
    """Number of passes over the rows, which need not be whole."""

    @classmethod
    def of(cls, version: str, rows: int, batch: int, epochs: Fraction = Fraction(1)) -> Increment:
        """Return an increment with as many steps of `batch` rows as its epochs fill."""
        return cls(version, rows, floor(epochs * rows) // batch, epochs)

    @property
    def planned_rows(self) -> int:
        """Number of rows of its epochs together, repeated ones included."""
        return floor(self.epochs * self.rows)

    @property
    def unread_epoch(self) -> int:
        """Position in the increment's stream at which the first epoch begins that its steps do not touch."""
        return ceil(self.epochs) * self.rows

    def used(self, batch: int) -> int:
        """Return the number of rows that the steps read; the remainder is reported. batch: rows of a step."""
        return self.steps * batch


@dataclass(frozen=True)
class RehearsalSet:
    """Rows that belong to no increment, for the mixes of paths to read."""

    name: str
    """Name of the set."""
    rows: int
    """Number of rows of an epoch."""
    since: str
    """First version whose mix may read the set."""
    epochs: Fraction = Fraction(1)
    """Number of passes over the rows that the set counts for when several sets divide a share."""

    @property
    def planned_rows(self) -> int:
        """Number of rows of its epochs together, repeated ones included."""
        return floor(self.epochs * self.rows)


@dataclass(frozen=True)
class CandidateSet:
    """Rows that no version reads, for probes."""

    name: str
    """Name of the set."""
    rows: int
    """Number of rows of an epoch."""
