"""Page of an experiment: Markdown tables of paired differences, and their two pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from evidence_results import Results, Row
from evidence_statistics import Paired, deviation

from lrps.charts.axes import number_axis
from lrps.charts.intervals import Interval, IntervalChart
from lrps.charts.line import LineChart, Mark, Series
from lrps.charts.svg import Drawing

MISSING = "missing"


@dataclass(frozen=True)
class Page:
    """Everything that is shown of one version: its rows, what they are compared with, and how."""

    results: Results
    version: str
    reference: str
    margin: float
    """Largest share of the reference's loss that counts as equal."""

    @property
    def rows(self) -> list[Row]:
        return self.results.rows(self.version, self.reference)

    @property
    def base(self) -> float | None:
        """Mean loss of the reference; None before it is measured."""
        return next((row.mean for row in self.rows if row.paradigm == self.reference), None)

    def markdown(self) -> str:
        """Return the tables: all differences, those by held-out set, and the noise of the order of the data."""
        tables = (self._differences(), self._by_set(), self._noise())
        return "\n".join(table for table in tables if table)

    def _differences(self) -> str:
        seeds = len(self.results.seeds)
        head = ("steps, of PTFS", "steps added", "loss", f"minus {self.reference}", "SD", "95 % interval", "same sign")
        lines = []
        for row in self.rows:
            cells = [
                row.paradigm,
                f"{row.cost.share_of_ptfs:.0%}",
                f"{row.cost.marginal_steps:,}",
                *self._measured(row),
            ]
            lines.append([*cells, f"{row.peak_lr:g}", f"{len(row.losses)} of {seeds}"])
        return table(("paradigm", *head, f"{self.version} is", "best peak", "seeds"), lines)

    def _measured(self, row: Row) -> Iterator[str]:
        """Yield the cells from the loss to the claim."""
        spread = deviation([loss.mean for loss in row.losses.values()])
        yield MISSING if row.mean is None else f"{row.mean:.4f}{'' if spread is None else f' ± {spread:.4f}'}"
        if row.paradigm == self.reference or row.paired is None or self.base is None:
            yield from ["reference", *[""] * 4] if row.paradigm == self.reference else [MISSING] * 5
            return
        paired, half = row.paired, row.paired.half_width()
        yield f"{paired.mean:+.4f} ({paired.mean / self.base:+.2%})"
        yield "n/a" if paired.deviation is None else f"{paired.deviation:.4f}"
        yield "n/a" if half is None else f"{paired.mean - half:+.4f} .. {paired.mean + half:+.4f}"
        yield f"{paired.same_sign} of {len(paired.values)}"
        yield paired.claim(self.margin * self.base, self.margin)

    def _by_set(self) -> str:
        """Return the differences on each held-out set, with the half-widths of their intervals."""
        rows = [row for row in self.rows if len(row.by_set) > 1 and row.paradigm != self.reference]
        lines = [[row.paradigm, *(_interval(paired) for paired in row.by_set.values())] for row in rows]
        if not rows:
            return ""
        return table((f"{self.version} minus {self.reference}", *(f"on {name}" for name in rows[0].by_set)), lines)

    def _noise(self) -> str:
        """Return the standard deviation over orders of the data at one seed; empty without other orders."""
        base = self.results.order_losses(self.reference, self.version)
        lines = []
        for paradigm in self.results.paradigms:
            losses = self.results.order_losses(paradigm, self.version)
            if (spread := deviation([*losses.values()])) is None:
                continue
            both = deviation([loss - base[order] for order, loss in losses.items() if order in base])
            lines.append([paradigm, str(len(losses)), f"{spread:.4f}", MISSING if both is None else f"{both:.4f}"])
        head = (
            "one seed, other orders of the data",
            "orders",
            "SD of the loss",
            f"SD of the difference to {self.reference}",
        )
        return table(head, lines) if lines else ""

    def pictures(self) -> Mapping[str, Drawing]:
        """Return the pictures by name; none before a difference is known."""
        base = self.base
        measured = [row for row in self.rows if row.paired is not None]
        others = [row for row in measured if row.paradigm != self.reference]
        if base is None or not others:
            return {}
        frontier = [row for row in measured if row.kind == "path-switching" or row.paradigm == self.reference]
        return {"differences": self._differences_drawn(others, base), "cost": self._cost_drawn(frontier, base)}

    def _differences_drawn(self, rows: Sequence[Row], base: float) -> Drawing:
        intervals = tuple(Interval(row.paradigm, _slot(row), *_percent(row, base)) for row in rows)
        ends = [end for each in intervals for end in _ends(each.value, each.half_width)]
        title = f"Held-out loss of {self.version} minus {self.reference}"
        said = "; ".join(f"{each.name} {each.text}" for each in intervals)
        axis = number_axis(f"% of the loss of {self.reference}; 95 % intervals", [0.0, *ends])
        return IntervalChart(title, f"{title}: {said}.", axis, intervals).draw()

    def _cost_drawn(self, rows: Sequence[Row], base: float) -> Drawing:
        """Return differences over costs, with their intervals as vertical lines: path switching and the reference."""
        series, points = [], [(100 * row.cost.share_of_ptfs, *_percent(row, base)) for row in rows]
        for row, (x, value, half, text) in zip(rows, points, strict=True):
            low, high = _ends(value, half)
            words = f"{row.paradigm}: {text} at {x:.0f} % of the steps"
            series.append(
                Series(_slot(row), (((x, low), (x, high)),), (Mark((x, value), words),), row.paradigm, dashed=False)
            )
        title = f"Loss of {self.version} against the steps of all versions"
        ends = [end for _, value, half, _ in points for end in _ends(value, half)]
        return LineChart(
            title,
            f"{title}: {'; '.join(mark.words for each in series for mark in each.marks)}.",
            number_axis("steps, % of PTFS", [x for x, *_ in points]),
            number_axis(f"% above {self.reference}, 95 % intervals", [0.0, *ends]),
            tuple(series),
            names_at_end=False,
        ).draw()


_KINDS = ("path-switching", "ptfs", "matched-steps", "wsd-s", "cpt")


def _slot(row: Row) -> int:
    """Return the colour of a paradigm, one for each kind."""
    return _KINDS.index(row.kind) if row.kind in _KINDS else len(_KINDS)


def _percent(row: Row, base: float) -> tuple[float, float | None, str]:
    """Return the mean difference and its half-width in % of the reference's loss, and both in words."""
    assert row.paired is not None
    mean, half = 100 * row.paired.mean / base, row.paired.half_width()
    if half is None:
        return mean, None, f"{mean:+.2f} %"
    return mean, 100 * half / base, f"{mean:+.2f} ± {100 * half / base:.2f} %"


def _ends(value: float, half: float | None) -> tuple[float, float]:
    return value - (half or 0.0), value + (half or 0.0)


def _interval(paired: Paired) -> str:
    half = paired.half_width()
    return f"{paired.mean:+.4f}" + ("" if half is None else f" ± {half:.4f}")


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; all columns but the first are aligned to the right."""
    rows = [head, ["---", *["---:"] * (len(head) - 1)], *lines]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
