"""The training losses of a path, read from its metrics.jsonl and thinned meanwhile: memory does not grow with the file.

A million lines take less than a second: whole pieces of the file are matched at once, and only pieces with a line of
another form are parsed line by line.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from math import inf, isfinite
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from lrps.ledger.metrics import parse_metrics, rewound_to

MOST_POINTS = 1024
"""Largest number of losses that are all kept."""
_PIECE_BYTES = 2**20
_WHOLE = r"(?!0[0-9])[0-9]+"
_LOSS = rf"-?{_WHOLE}(?:\.[0-9]+)?(?:e[-+][0-9]+)?"
_OTHER = "[-+.0-9e]+"
_LINE = re.compile(
    rf'^{{"step": ({_WHOLE}), "tokens": {_WHOLE}, "loss": ({_LOSS}), "lr": {_OTHER}, "grad_norm": (?:{_OTHER}|null), '
    rf'"tokens_per_second": {_OTHER}}}$',
    re.MULTILINE,
)
"""Line of `MetricsWriter` whose numbers are all finite, with its step and loss."""

Point = tuple[int, float]
"""Step and loss."""


class MeanLoss(NamedTuple):
    """Mean of neighbouring losses."""

    step: int
    """Step of the last one."""
    loss: float
    number: int
    """Number of losses."""


@dataclass(frozen=True)
class LossCurve:
    """Losses of a path by ascending step: all of them, or of neighbours the first, last, lowest and highest one."""

    points: tuple[Point, ...]
    means: tuple[MeanLoss, ...]
    """Means of the neighbours whose points were thinned; none if `points` are all losses."""


def read_losses(file: Path) -> LossCurve:
    """Return the finite losses of a metrics.jsonl: all if they are at most MOST_POINTS, else at most four times that.

    The last line of a repeated step counts; lines that a rewind abandoned and damaged lines are left out, as
    `read_metrics` does. The first, the last, the lowest and the highest of the losses that count are always kept.
    """
    thinned, seen, last = _Thinned(), _Seen(), inf
    for points, rewound in _pieces_backwards(file):
        points = points if last == inf else [point for point in points if point[0] <= last]
        last = min(last, rewound)
        if not points:
            continue
        if not all(before < after for (before, _), (after, _) in pairwise(points)):
            points = sorted(dict(points).items())
        new = seen.add(points)
        thinned.add([point for point in reversed(new) if isfinite(point[1])])
    return thinned.curve()


def _pieces_backwards(file: Path) -> Iterator[tuple[list[Point], float]]:
    """Yield the points of the file in pieces: the last piece first, in each the lines in their order.

    Beside the points of a piece is the lowest step that the path was taken back to within it, or else infinity: points
    of earlier pieces beyond it were abandoned.
    """
    with suppress(FileNotFoundError), open(file, "rb") as lines:
        end, rest = lines.seek(0, os.SEEK_END), b""
        while end:
            begin = max(0, end - _PIECE_BYTES)
            lines.seek(begin)
            piece = lines.read(end - begin) + rest
            cut = piece.find(b"\n") + 1 if begin else 0
            rest = piece[:cut]
            yield _points(piece[cut:])
            end = begin


def _points(text: bytes) -> tuple[list[Point], float]:
    found: list[tuple[str, str]] = _LINE.findall(text.decode("latin-1"))
    if found and len(found) == text.count(b"\n") and text.endswith(b"\n"):
        steps, losses = zip(*found, strict=True)
        return list(zip(map(int, steps), map(float, losses), strict=True)), inf
    points: list[Point] = []
    lowest = inf
    for line in text.split(b"\n"):
        if (to := rewound_to(line)) is not None:
            points, lowest = [point for point in points if point[0] <= to], min(lowest, to)
            continue
        with suppress(ValueError):
            metrics = parse_metrics(line)
            points.append((metrics.step, metrics.loss))
    return points, lowest


class _Seen:
    """Steps that were read already. As most are logged at equal intervals, they are mostly few ranges."""

    def __init__(self) -> None:
        self._runs: list[Collection[int]] = []
        self._lowest: int | None = None

    def add(self, points: list[Point]) -> list[Point]:
        """Add the steps of some points, which ascend, and return the points whose steps were new."""
        if self._lowest is not None and points[-1][0] >= self._lowest:
            points = [point for point in points if not any(point[0] in run for run in self._runs)]
        if points:
            self._note([step for step, _ in points])
        return points

    def _note(self, steps: list[int]) -> None:
        interval = steps[1] - steps[0] if len(steps) > 1 else 1
        run: Collection[int] = range(steps[0], steps[-1] + 1, interval)
        if len(run) != len(steps) or any(a != b for a, b in zip(run, steps, strict=True)):
            run = frozenset(steps)
        last = self._runs[-1] if self._runs else None
        if isinstance(run, range) and isinstance(last, range) and last.step == interval == last[0] - run[-1]:
            self._runs[-1] = range(run[0], last[-1] + 1, interval)
        else:
            self._runs.append(run)
        self._lowest = steps[0] if self._lowest is None else min(self._lowest, steps[0])


class _Cell(NamedTuple):
    """Neighbouring points, of which at most four are kept."""

    kept: tuple[Point, ...]
    total: float
    """Sum of the losses."""
    number: int
    """Number of points."""


class _Thinned:
    """Points as cells of equally many neighbours; twice as many each time that there are too many cells."""

    def __init__(self) -> None:
        self._cells: list[_Cell] = []
        self._size = 1
        self._rest: list[Point] = []

    def add(self, points: list[Point]) -> None:
        points, begin = self._rest + points, 0
        while len(points) - begin >= self._size:
            self._cells.append(_cell(points[begin : begin + self._size]))
            begin += self._size
            if len(self._cells) > MOST_POINTS:
                self._halve()
        self._rest = points[begin:]

    def _halve(self) -> None:
        pairs = zip(self._cells[::2], self._cells[1::2], strict=False)
        odd = self._cells[-1:] if len(self._cells) % 2 else []
        self._cells = [*map(_join, pairs), *odd]
        self._size *= 2

    def curve(self) -> LossCurve:
        cells = [*self._cells, *([_cell(self._rest)] if self._rest else [])]
        points = sorted({point for cell in cells for point in cell.kept})
        means = sorted(MeanLoss(cell.kept[-1][0], cell.total / cell.number, cell.number) for cell in cells)
        return LossCurve(tuple(points), tuple(means) if self._size > 1 else ())


def _cell(points: Sequence[Point]) -> _Cell:
    return _Cell(_kept(points), sum(map(itemgetter(1), points)), len(points))


def _join(pair: Iterable[_Cell]) -> _Cell:
    first, second = pair
    return _Cell(_kept(first.kept + second.kept), first.total + second.total, first.number + second.number)


def _kept(points: Sequence[Point]) -> tuple[Point, ...]:
    """Return the first, last, lowest and highest of some points, by ascending step."""
    loss = itemgetter(1)
    return tuple(sorted({min(points), max(points), min(points, key=loss), max(points, key=loss)}))
