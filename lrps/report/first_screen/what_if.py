"""The what-if panel of the first screen: its controls as they start, and its table without a script.

The settings that it starts with reproduce the steps of the run. what_if.js has the same formulas.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import floor
from typing import Any

from lrps.base.amounts import bill_time, money, percentage
from lrps.base.numbers import count
from lrps.costs.answers.budget_answers import StepsCost
from lrps.costs.answers.closed_formulas import CumulativeSteps, PlannedDecays, cumulative_steps, share_decays
from lrps.costs.comparison import Comparison
from lrps.report.cost_words import CostWords

_ALPHA, _GROWTH = 60, 100
"""Settings, in hundredths, of a panel that starts from the sizes of the run as they are."""
_LOWEST_ALPHA, _GROWTH_STEP, _LOWEST_GROWTH, _HIGHEST_GROWTH = 5, 5, 50, 200
_MOST_VERSIONS = 20
OWN = "run"
"""Choice of decays as they are in the run."""


@dataclass(frozen=True)
class WhatIfRow:
    """Row of one way of training, as text."""

    key: str
    """Name in the script: ps, ptfs or cpt."""
    name: str
    slot: int
    cells: tuple[str, ...]
    """Share of PTFS, share of CPT, cost of the next version, steps, device time and money."""
    cost: str
    pieces: tuple[tuple[float, float], ...]
    """(left edge, width) of each version in a bar of 1,000 units; the last one is the next version."""


@dataclass(frozen=True)
class WhatIf:
    """Settings that the panel starts with."""

    increments: tuple[int, ...]
    """Steps of the increments of the run."""
    decays: tuple[int, ...] | None
    """Steps of the branches of the run, if no alpha of the panel explains them."""
    releases_first: bool
    """False if the main path releases the first version, without a branch."""
    alpha: int
    """Length of the decays, in hundredths of `alpha_of`."""
    alpha_of: str
    """increment, steps-so-far, or OWN."""
    growth: int
    """Growth of the increments, in hundredths."""
    keeps_increments: bool
    """True if the increments are those of the run, because no growth of the panel explains them."""
    device_seconds_per_step: float | None
    price: float | None
    currency: str

    @property
    def most_versions(self) -> int:
        """Highest number of versions of the slider."""
        return max(_MOST_VERSIONS, len(self.increments) + 10)

    @property
    def data(self) -> dict[str, Any]:
        """Values that the script needs beside the controls."""
        return {
            "T": self.increments,
            "D": self.decays,
            "first": self.releases_first,
            "r": self.device_seconds_per_step,
            "c": self.currency,
        }

    def steps(self) -> CumulativeSteps:
        """Return the cumulative steps of the versions of the run and of the next one."""
        increments = _with_next(self.increments, self.growth, self.keeps_increments)
        if self.decays is not None:
            decays = [*self.decays, min(self.decays[-1], sum(increments))]
        else:
            decays = share_decays(Fraction(self.alpha, 100), self.alpha_of, increments)
            decays[0] = decays[0] if self.releases_first else 0
        return cumulative_steps(increments, decays)


def what_if(comparison: Comparison) -> WhatIf:
    """Return the panel of a comparison."""
    increments = tuple(version.steps for version in comparison.plan.versions)
    decays = comparison.answers.decays
    alpha, alpha_of = (_ALPHA, "increment") if decays is None else _share(decays, increments)
    growth = _growth(increments)
    return WhatIf(
        increments=increments,
        decays=decays.steps if decays and alpha_of == OWN else None,
        releases_first=decays is None or decays.steps[0] > 0,
        alpha=alpha,
        alpha_of=alpha_of,
        growth=_GROWTH if growth is None else growth,
        keeps_increments=growth is None,
        device_seconds_per_step=comparison.pace.device_seconds_per_step,
        price=comparison.price.amount if comparison.price else None,
        currency=comparison.plan.currency or "USD",
    )


def what_if_rows(comparison: Comparison, panel: WhatIf, slots: Sequence[int]) -> list[WhatIfRow]:
    """Return the rows of the panel as it starts. slots: numbers of the colours of path switching, PTFS and CPT."""
    steps, words = panel.steps(), CostWords(comparison.plan.currency)
    found = {"ps": steps.path_switching, "ptfs": steps.ptfs, "cpt": steps.cpt}
    names = {"ps": "path switching", "ptfs": "PTFS", "cpt": "CPT"}
    most = max(cumulative[-1] for cumulative in found.values())

    def cost(number: int) -> StepsCost:
        hours = comparison.pace.hours(number)
        return StepsCost(number, hours, None if hours is None or panel.price is None else hours * panel.price)

    rows = []
    for (key, cumulative), slot in zip(found.items(), slots, strict=True):
        *_, now, with_next = cumulative
        own = cost(now)
        edges = (0, *cumulative)
        cells = (
            percentage(now / steps.ptfs[-2]),
            percentage(now / steps.cpt[-2]),
            words.steps(cost(with_next - now)),
            count(now),
            bill_time(own.device_hours),
            money(own.money, panel.currency),
        )
        pieces = tuple((1000 * a / most, 1000 * (b - a) / most) for a, b in pairwise(edges))
        rows.append(WhatIfRow(key, names[key], slot, cells, words.steps(own), pieces))
    return rows


def _share(decays: PlannedDecays, increments: Sequence[int]) -> tuple[int, str]:
    """Return alpha in hundredths and its unit if they explain all decays; otherwise the default and OWN."""
    hundredths = Fraction(str(decays.alpha)) * 100
    whole = hundredths.denominator == 1 and _LOWEST_ALPHA <= hundredths <= 100
    if whole and decays.alpha_of in ("increment", "steps-so-far"):
        found = share_decays(hundredths / 100, decays.alpha_of, increments)
        if found[1:] == list(decays.steps[1:]) and decays.steps[0] in (0, found[0]):
            return int(hundredths), decays.alpha_of
    return _ALPHA, OWN


def _growth(increments: Sequence[int]) -> int | None:
    """Return the growth in hundredths that explains all increments; None if there is none."""
    first, *_, last = (increments[0], *increments)
    raw = 100 * (last / first) ** (1 / max(1, len(increments) - 1))
    growth = round(raw / _GROWTH_STEP) * _GROWTH_STEP
    if not _LOWEST_GROWTH <= growth <= _HIGHEST_GROWTH:
        return None
    return growth if [_grown(first, growth, k) for k in range(len(increments))] == list(increments) else None


def _with_next(increments: Sequence[int], growth: int, keeps: bool) -> list[int]:
    following = _grown(increments[-1], growth, 1) if keeps else _grown(increments[0], growth, len(increments))
    return [*increments, following]


def _grown(steps: int, growth: int, times: int) -> int:
    """Return steps * (growth / 100) ** times in whole steps, rounded half up, at least 1."""
    return max(1, floor(steps * Fraction(growth, 100) ** times + Fraction(1, 2)))
