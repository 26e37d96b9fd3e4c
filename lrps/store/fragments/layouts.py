"""How the elements of parameters are divided among the segments of a checkpoint: by a rule, or piece by piece.

A segment is what one rank has written; its pieces follow one another in the order of `pieces`. Pure functions of
numbers: a parameter is its number in the model's order, an element its position in the flattened parameter.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np


class ElementRange(NamedTuple):
    """Elements [start, stop) of a parameter."""

    parameter: int
    start: int
    stop: int


class Stored(NamedTuple):
    """Elements [start, stop) of a parameter, and where they are: `offset` elements into a segment."""

    segment: int
    offset: int
    start: int
    stop: int


MOST_SEGMENTS = 2**20
"""Largest number of segments of a state: more ranks than any run has."""


class Layout(Protocol):
    """A division of parameters among segments."""

    def pieces(self, segment: int) -> Sequence[ElementRange]:
        """Return the pieces of a segment in their order."""

    def elements(self, segment: int) -> int:
        """Return the number of elements in a segment."""

    def find(self, parameter: int, start: int, stop: int) -> Iterator[Stored]:
        """Yield stored elements that overlap with elements [start, stop) of a parameter, by position."""

    @property
    def stored(self) -> Collection[int]:
        """Numbers of the parameters that have values in the state."""

    def fault(self, sizes: Sequence[int], names: Sequence[str]) -> str | None:
        """Return which elements of these parameters are missing or there twice, for messages; None if there are none.

        sizes and names: of all parameters, by number.
        """

    def to_json(self) -> dict[str, Any]:
        """Return the layout in an index."""


@dataclass(frozen=True)
class Shares:
    """Every parameter divided equally among the segments, as ZeRO 3 does; the last shares may be short or empty."""

    of: int
    """Number of segments."""
    sizes: tuple[int, ...]
    """Number of elements of each parameter."""
    parameters: tuple[int, ...]
    """Numbers of the parameters that are stored, in their order."""
    _known: dict[int, np.ndarray] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def stored(self) -> tuple[int, ...]:
        """Numbers of the parameters that have values in the state."""
        return self.parameters

    @cached_property
    def _sizes(self) -> np.ndarray:
        return np.array([self.sizes[each] for each in self.parameters], np.int64)

    @cached_property
    def _shares(self) -> np.ndarray:
        return -(-self._sizes // self.of)

    @cached_property
    def _positions(self) -> dict[int, int]:
        return {parameter: position for position, parameter in enumerate(self.parameters)}

    def _offsets(self, segment: int) -> np.ndarray:
        """Return where the piece of each stored parameter begins in a segment."""
        if segment not in self._known:
            pieces = np.clip(self._sizes - self._shares * segment, 0, self._shares)
            self._known[segment] = np.cumsum(pieces) - pieces
        return self._known[segment]

    def pieces(self, segment: int) -> list[ElementRange]:
        """Return the pieces of a segment in their order."""
        starts = self._shares * segment
        stops = np.minimum(starts + self._shares, self._sizes)
        each = zip(self.parameters, starts.tolist(), stops.tolist(), strict=True)
        return [ElementRange(*piece) for piece in each if piece[1] < piece[2]]

    def elements(self, segment: int) -> int:
        """Return the number of elements in a segment."""
        return int(np.clip(self._sizes - self._shares * segment, 0, self._shares).sum())

    def find(self, parameter: int, start: int, stop: int) -> Iterator[Stored]:
        """Yield stored elements that overlap with elements [start, stop) of a parameter, by position."""
        position = self._positions.get(parameter)
        if position is None or start >= (stop := min(stop, self.sizes[parameter])):
            return
        share = int(self._shares[position])
        for segment in range(start // share, -(-stop // share)):
            begin = segment * share
            offset = int(self._offsets(segment)[position])
            yield Stored(segment, offset, begin, min(begin + share, self.sizes[parameter]))

    def fault(self, sizes: Sequence[int], names: Sequence[str]) -> str | None:
        """Return None: by the rule every element is stored once."""
        del sizes, names
        return None

    def to_json(self) -> dict[str, Any]:
        """Return the layout in an index, which lists the parameters only if they are not all."""
        found = {"rule": "shares", "of": self.of}
        return found if len(self.parameters) == len(self.sizes) else {**found, "parameters": list(self.parameters)}


@dataclass(frozen=True)
class Listed:
    """Pieces that are listed one by one, as those of ZeRO 1 and 2, which divide many parameters together."""

    each: tuple[tuple[ElementRange, ...], ...]
    """Pieces of every segment, in their order."""

    @cached_property
    def _stored(self) -> dict[int, list[Stored]]:
        found: dict[int, list[Stored]] = {}
        for segment, pieces in enumerate(self.each):
            offset = 0
            for piece in pieces:
                found.setdefault(piece.parameter, []).append(Stored(segment, offset, piece.start, piece.stop))
                offset += piece.stop - piece.start
        return {parameter: sorted(stored, key=lambda each: each.start) for parameter, stored in found.items()}

    @property
    def stored(self) -> Collection[int]:
        """Numbers of the parameters that have values in the state."""
        return self._stored.keys()

    def pieces(self, segment: int) -> tuple[ElementRange, ...]:
        """Return the pieces of a segment in their order."""
        return self.each[segment]

    def elements(self, segment: int) -> int:
        """Return the number of elements in a segment."""
        return sum(piece.stop - piece.start for piece in self.each[segment])

    def find(self, parameter: int, start: int, stop: int) -> Iterator[Stored]:
        """Yield stored elements that overlap with elements [start, stop) of a parameter, by position."""
        return (each for each in self._stored.get(parameter, ()) if each.start < stop and start < each.stop)

    def fault(self, sizes: Sequence[int], names: Sequence[str]) -> str | None:
        """Return which elements are missing or stored twice, for messages; None if there are none."""
        for parameter, stored in self._stored.items():
            ends = [0, *(each.stop for each in stored)]
            starts = [*(each.start for each in stored), sizes[parameter]]
            for end, start in zip(ends, starts, strict=True):
                if end != start:
                    what = "missing" if end < start else "stored twice"
                    return f"{names[parameter]}: elements {min(end, start)} to {max(end, start)} are {what}"
        return None

    def to_json(self) -> dict[str, Any]:
        """Return the layout in an index: [parameter, start, stop, segment] of every piece."""
        listed = [[*piece, segment] for segment, pieces in enumerate(self.each) for piece in pieces]
        return {"pieces": listed}


def layout_of(pieces: Sequence[Sequence[ElementRange] | None], shares: Shares) -> Layout:
    """Return the layout of the pieces of all ranks; None in place of those that `shares` gives a rank."""
    if all(each is None for each in pieces):
        return shares
    return Listed(tuple(tuple(shares.pieces(rank) if each is None else each) for rank, each in enumerate(pieces)))


def read_layout(stored: Mapping[str, Any], sizes: Sequence[int], segments: int) -> Layout:
    """Return the layout in an index. Raises ValueError for a rule that is not known, LookupError for other faults."""
    if "pieces" in stored:
        found: list[list[ElementRange]] = [[] for _ in range(segments)]
        for parameter, start, stop, segment in stored["pieces"]:
            if not (0 <= start <= stop <= sizes[parameter] and parameter >= 0 and segment >= 0):
                raise ValueError(f"its layout has no elements {start} to {stop} of parameter {parameter}")
            found[segment].append(ElementRange(parameter, start, stop))
        return Listed(tuple(map(tuple, found)))
    if stored["rule"] != "shares":
        raise ValueError(f"its layout has the rule {stored['rule']!r}; use the lrps that wrote it")
    of, parameters = stored["of"], tuple(stored.get("parameters", range(len(sizes))))
    if type(of) is not int or not 0 < of <= MOST_SEGMENTS or not {*parameters} <= {*range(len(sizes))}:
        raise ValueError(f"its layout divides parameters by {of!r:.80}, or one that is not there")
    return Shares(of, tuple(sizes), parameters)


def covered(pieces: Iterable[ElementRange]) -> tuple[int, ...]:
    """Return the numbers of the parameters that some pieces are of, in their order."""
    return tuple(sorted({piece.parameter for piece in pieces}))
