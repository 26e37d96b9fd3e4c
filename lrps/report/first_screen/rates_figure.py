"""Learning rate of every way of training, in rows over one axis of steps."""

from __future__ import annotations

from html import escape

from lrps.base.numbers import count
from lrps.charts.line import point_at
from lrps.charts.svg import SLOTS, Drawing, element, fitted, label, marker, polyline, text_width
from lrps.costs.comparison import Comparison
from lrps.costs.paradigm_costs import ParadigmCosts, PathCosts
from lrps.report.cost_words import CostWords, spoken
from lrps.report.figures.learning_rate import rates_until
from lrps.report.figures.step_chart import is_branch, releases_of

_WIDTH, _LEFT, _RIGHT = 480.0, 8.0, 472.0
_TOP, _ROW, _GAP = 26.0, 54.0, 32.0
_LETTERS = 14
"""Size of letters on a narrow screen, for which labels have room."""
_MOST_GUIDES = 40


def rates_figure(comparison: Comparison) -> Drawing:
    """Return the drawing, each row labelled with its steps and its cost."""
    height = _TOP + len(comparison.paradigms) * (_ROW + _GAP) + 8
    body = _version_marks(comparison, height - _GAP - 8)
    words = []
    for slot, (name, paradigm) in enumerate(comparison.paradigms.items()):
        top = _TOP + slot * (_ROW + _GAP)
        body += element("g", _rates(comparison, paradigm, top, slot), class_=f"s{slot % SLOTS}")
        text = _cost(comparison, name)
        shown = fitted(spoken(name), _RIGHT - _LEFT - text_width(f" {text}", _LETTERS), _LETTERS)
        row_name = element("tspan", escape(shown), class_=f"s{slot % SLOTS} b")
        body += element(
            "text", f"{row_name} {element('tspan', escape(text), class_='quiet')}", x=_LEFT, y=top + _ROW + 18
        )
        words.append(f"{spoken(name)} {text}")
    last = _last_step(comparison)
    body += label(_RIGHT, height - 2, f"training steps of one model, 0 to {count(last)}", "end", "quiet")
    description = f"A row for each way of training, on the same axes: {'; '.join(words)}."
    return Drawing("Learning rate over the steps of a model", description, _WIDTH, height + 4, body)


def _last_step(comparison: Comparison) -> int:
    return sum(version.steps for version in comparison.plan.versions)


def _x(comparison: Comparison, step: float) -> float:
    return _LEFT + (_RIGHT - _LEFT) * step / _last_step(comparison)


def _cost(comparison: Comparison, name: str) -> str:
    cost = comparison.answers.way(name).all_versions
    steps = f"{count(cost.steps)} steps"
    known = CostWords(comparison.plan.currency).steps(cost)
    return steps if known == steps else f"{steps}, {known}"


def _version_marks(comparison: Comparison, bottom: float) -> str:
    """Return a dotted line at the end of each increment, and the names of those versions for which there is room."""
    versions, step, body = comparison.plan.versions, 0, ""
    half_last = text_width(versions[-1].name, _LETTERS)
    before, end = _LEFT, _RIGHT - half_last
    for index, version in enumerate(versions):
        step += version.steps
        x, half, is_last = _x(comparison, step), text_width(version.name, _LETTERS) / 2, index == len(versions) - 1
        if len(versions) <= _MOST_GUIDES or is_last:
            body += element("line", x1=x, x2=x, y1=16.0, y2=bottom, class_="guide")
        if is_last or (before + 4 <= x - half and x + half + 6 <= end):
            body += label(x, 12, version.name, "end" if is_last else "middle", "quiet")
            before = x + half
    return body


def _rates(comparison: Comparison, paradigm: ParadigmCosts, top: float, slot: int) -> str:
    """Return the axis, the rates of all paths, and the marks of forks and releases on top of them."""
    peak = max(max(curve.lr) for curve in comparison.curves.values()) or 1.0
    lines, marks = element("line", x1=_LEFT, x2=_RIGHT, y1=top + _ROW, y2=top + _ROW, class_="axis"), ""

    def place(step: float, rate: float) -> tuple[float, float]:
        return _x(comparison, step), top + _ROW - _ROW * rate / peak

    for path in paradigm.paths:
        rates = rates_until(comparison.curves[path.plan.name], path.plan.stop_step)
        lines += polyline([place(*point) for point in rates], "line thick" if path.plan.kind == "main" else "line")
        if is_branch(paradigm, path):
            marks += marker(*place(*rates[0]), slot, _fork_words(path), hollow=True)
        for release in releases_of(paradigm, path):
            words = f"{release.label} released at step {count(release.step)}"
            marks += marker(*place(*point_at(rates, release.step)), slot, words)
    return lines + marks


def _fork_words(path: PathCosts) -> str:
    return f"{path.plan.name} forks at step {count(path.plan.start_step)}"
