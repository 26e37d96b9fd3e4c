"""Shares of the parts of a mixed source: how many sequences of each part one epoch of the source has.

The numbers are exact: they follow from the weights, from the sequences of every part and from the epochs that it may be
read for, and add up to the sequences of the source. Nothing here is rounded before the last step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

from lrps.base.errors import DataError


@dataclass(frozen=True)
class PartSize:
    """Weight of a part of a mixture, and how much of it there is."""

    name: str
    """Name of the part's shards: <version>.<part>."""
    weight: Fraction
    """Weight, above 0. The weights of a mixture need not add up to 1."""
    rows: int | None
    """Number of rows of its shards; None before they exist."""
    epochs: Fraction = Fraction(1)
    """Number of passes over its rows that one epoch of the mixture may take."""

    @property
    def limit(self) -> int | None:
        """Largest number of its rows in one epoch of the mixture; None before its shards exist."""
        return None if self.rows is None else floor(self.epochs * self.rows)


@dataclass(frozen=True)
class PartShare:
    """Rows of one part in an epoch of a mixed source."""

    name: str
    """Name of the part's shards: <version>.<part>."""
    weight: Fraction
    """Share of the part among the weights of the mixture, which add up to 1."""
    rows: int
    """Number of rows of an epoch of the part, which has its own order.

    Before the shards exist it is the number that the mixture needs of them.
    """
    count: int
    """Number of rows of the part in one epoch of the mixture; beyond `rows` they are in a later epoch of the part."""

    @property
    def epochs(self) -> Fraction:
        """Number of passes over the part that one epoch of the mixture takes."""
        return Fraction(self.count, self.rows)


def largest_mixture(parts: Sequence[PartSize]) -> int:
    """Return the largest number of rows at the given weights for which no part exceeds its limit.

    It is min_i floor(limit_i x W / w_i), with W the sum of the weights w_i. All parts must have shards.
    """
    whole = sum(part.weight for part in parts)
    limits = [(part.limit or 0, part.weight) for part in parts]
    return min(floor(limit * whole / weight) for limit, weight in limits)


def count_parts(parts: Sequence[PartSize], rows: int) -> list[int]:
    """Return numbers of rows in proportion to the weights that add up to `rows`, each within one row of its share.

    The rows that are left after rounding down go to the largest fractions; of equal fractions the first part is first.
    """
    whole = sum(part.weight for part in parts)
    shares = [rows * part.weight / whole for part in parts]
    counts = [floor(share) for share in shares]
    by_fraction = sorted(range(len(parts)), key=lambda index: (counts[index] - shares[index], index))
    for index in by_fraction[: rows - sum(counts)]:
        counts[index] += 1
    return counts


def share_parts(source: str, parts: Sequence[PartSize], wanted: int | None) -> tuple[PartShare, ...]:
    """Return the rows of every part in an epoch of the mixed source.

    wanted: number of rows of the epoch; None for the largest number for which no part exceeds its limit, which needs
    the shards of all parts. Raises DataError if a part is too small for its share, or its share is less than one row.
    """
    rows = largest_mixture(parts) if wanted is None else wanted
    counts = count_parts(parts, rows)
    whole = sum(part.weight for part in parts)
    for part, count in zip(parts, counts, strict=True):
        _check(source, part, count, rows, rows * part.weight / whole)
    return tuple(
        PartShare(part.name, part.weight / whole, _rows(part, count), count)
        for part, count in zip(parts, counts, strict=True)
    )


def _rows(part: PartSize, count: int) -> int:
    return ceil(count / part.epochs) if part.rows is None else part.rows


def _check(source: str, part: PartSize, count: int, rows: int, share: Fraction) -> None:
    """Raise DataError if a part is too small for its exact share of the `rows` rows, or its share is less than a row.

    The exact share counts, not the rounded one, so that a part fits exactly if it does not limit the mixture.
    """
    if not count:
        raise DataError(
            f"{source}: the share of part {part.name} is less than one of its {rows} sequences: raise its weight, add "
            "data, or leave the part out"
        )
    if part.limit is None or part.rows is None or share <= part.limit:
        return
    needed = ceil(Fraction(ceil(share), part.rows) * 100) / 100
    raise DataError(
        f"{source}: part {part.name} would be read more than {_times(part.epochs)}: its share of {rows} sequences is "
        f"{count}, its shards have {part.rows}; to repeat it, give the part `epochs: {needed:g}`; otherwise lower the "
        f"part's weight, or `tokens` of {source} to at most {floor(rows * part.limit / share)} sequences"
    )


def _times(epochs: Fraction) -> str:
    return "once" if epochs == 1 else f"{float(epochs):g} times"
