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
from math import inf, isfinite
from operator import itemgetter, lt
from pathlib import Path
from typing import Any, NamedTuple

from pydantic_core import from_json

from lrps.base.files import regular_file
from lrps.ledger.heldout_metrics import LINES as HELDOUT_LINES
from lrps.ledger.metrics import parse_metrics, rewound_to

MOST_POINTS = 1024
"""Largest number of losses that are all kept."""
_PIECE_BYTES = 2**16
_WHOLE = "(?:0|[1-9][0-9]*+)"  # ++ and *+ never try a shorter match, which would be in vain here: half of the time.
_LOSS = rf"-?{_WHOLE}(?:\.[0-9]++)?(?:e[-+][0-9]++)?"
_OTHER = "[-+.0-9e]++"
_LINE = re.compile(
    rf'^{{"step": ({_WHOLE}), "tokens": {_WHOLE}, "loss": ({_LOSS}), "lr": {_OTHER}, "grad_norm": (?:{_OTHER}|null), '
    rf'"tokens_per_second": {_OTHER}}}$',
    re.MULTILINE,
)
"""Line of `MetricsWriter` whose numbers are all finite, with its step and loss."""

Point = tuple[int, float]
"""Step and loss."""


class _Points(NamedTuple):
    """Points as two lists of equal length, because builtin functions take whole lists in a small part of the time."""

    steps: list[int]
    losses: list[float]

    def ascending(self) -> _Points:
        """Return the points by ascending step, with the last one of those of a step."""
        if all(map(lt, self.steps, self.steps[1:])):
            return self
        return _Points.of(sorted(dict(zip(self.steps, self.losses, strict=True)).items()))

    def until(self, last: float) -> _Points:
        """Return the points up to a step."""
        if last == inf:
            return self
        return _Points.of([point for point in zip(self.steps, self.losses, strict=True) if point[0] <= last])

    def finite(self) -> _Points:
        """Return the points whose losses are finite."""
        if all(map(isfinite, self.losses)):
            return self
        return _Points.of([point for point in zip(self.steps, self.losses, strict=True) if isfinite(point[1])])

    @classmethod
    def of(cls, points: Iterable[Point]) -> _Points:
        """Return points of pairs."""
        steps, losses = [], []
        for step, loss in points:
            steps.append(step)
            losses.append(loss)
        return cls(steps, losses)


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
    for piece, rewound in _pieces_backwards(file):
        points = piece.until(last)
        last = min(last, rewound)
        if points.steps:
            steps, losses = seen.add(points.ascending()).finite()
            thinned.add(_Points(steps[::-1], losses[::-1]))
    return thinned.curve()


def _pieces_backwards(file: Path) -> Iterator[tuple[_Points, float]]:
    """Yield the points of the file in pieces: the last piece first, in each the lines in their order.

    Beside the points of a piece is the lowest step that the path was taken back to within it, or else infinity: points
    of earlier pieces beyond it were abandoned.
    """
    with suppress(FileNotFoundError), open(file, "rb", opener=regular_file) as lines:
        end, rest = lines.seek(0, os.SEEK_END), b""
        while end:
            begin = max(0, end - _PIECE_BYTES)
            lines.seek(begin)
            piece = lines.read(end - begin) + rest
            cut = piece.find(b"\n") + 1 if begin else 0
            rest = piece[:cut]
            yield _points(piece[cut:])
            end = begin


def _points(text: bytes) -> tuple[_Points, float]:
    if b'{"heldout"' in text:  # A search for these bytes takes a small part of the time that the pattern takes.
        text = HELDOUT_LINES.sub(b"", text)
    found: list[tuple[str, str]] = _LINE.findall(text.decode("latin-1"))
    if found and len(found) == text.count(b"\n") and text.endswith(b"\n"):
        steps, losses = zip(*found, strict=True)
        return _Points(_numbers(steps), list(map(float, _numbers(losses)))), inf
    points: list[Point] = []
    lowest = inf
    for line in text.split(b"\n"):
        if (to := rewound_to(line)) is not None:
            points, lowest = [point for point in points if point[0] <= to], min(lowest, to)
            continue
        with suppress(ValueError):
            metrics = parse_metrics(line)
            points.append((metrics.step, metrics.loss))
    return _Points.of(points), lowest


def _numbers(texts: Iterable[str]) -> list[Any]:
    """Return the numbers of JSON texts. Of long decimal fractions it takes a third of the time that `float` does."""
    numbers: list[Any] = from_json(f"[{','.join(texts)}]")
    return numbers


class _Seen:
    """Steps that were read already. As most are logged at equal intervals, they are mostly few ranges."""

    def __init__(self) -> None:
        self._runs: list[Collection[int]] = []
        self._lowest: int | None = None

    def add(self, points: _Points) -> _Points:
        """Add the steps of some points, which ascend, and return the points whose steps were new."""
        if self._lowest is not None and points.steps[-1] >= self._lowest:
            pairs = zip(points.steps, points.losses, strict=True)
            points = _Points.of(pair for pair in pairs if not any(pair[0] in run for run in self._runs))
        if points.steps:
            self._note(points.steps)
        return points

    def _note(self, steps: list[int]) -> None:
        interval = steps[1] - steps[0] if len(steps) > 1 else 1
        run: Collection[int] = range(steps[0], steps[-1] + 1, interval)
        if list(run) != steps:
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
        self._rest = _Points([], [])

    def add(self, points: _Points) -> None:
        points = _Points(self._rest.steps + points.steps, self._rest.losses + points.losses)
        begin = 0
        while len(points.steps) - begin >= self._size:
            self._cells.append(_cell(points, begin, begin + self._size))
            begin += self._size
            if len(self._cells) > MOST_POINTS:
                self._halve()
        self._rest = _Points(points.steps[begin:], points.losses[begin:])

    def _halve(self) -> None:
        pairs = zip(self._cells[::2], self._cells[1::2], strict=False)
        odd = self._cells[-1:] if len(self._cells) % 2 else []
        self._cells = [*map(_join, pairs), *odd]
        self._size *= 2

    def curve(self) -> LossCurve:
        cells = [*self._cells, *([_cell(self._rest, 0, len(self._rest.steps))] if self._rest.steps else [])]
        points = sorted({point for cell in cells for point in cell.kept})
        means = sorted(MeanLoss(cell.kept[-1][0], cell.total / cell.number, cell.number) for cell in cells)
        return LossCurve(tuple(points), tuple(means) if self._size > 1 else ())


def _cell(points: _Points, begin: int, end: int) -> _Cell:
    steps, losses = points.steps[begin:end], points.losses[begin:end]
    places = {0, len(steps) - 1, losses.index(min(losses)), losses.index(max(losses))}
    return _Cell(tuple(sorted((steps[place], losses[place]) for place in places)), sum(losses), len(steps))


def _join(pair: Iterable[_Cell]) -> _Cell:
    first, second = pair
    return _Cell(_kept(first.kept + second.kept), first.total + second.total, first.number + second.number)


def _kept(points: Sequence[Point]) -> tuple[Point, ...]:
    """Return the first, last, lowest and highest of some points, by ascending step."""
    loss = itemgetter(1)
    return tuple(sorted({min(points), max(points), min(points, key=loss), max(points, key=loss)}))
