"""Values of the first screen that its template shows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from markupsafe import Markup, escape

from lrps.base.amounts import NB
from lrps.base.numbers import loss
from lrps.charts.svg import SLOTS, Drawing
from lrps.costs.comparison import Comparison
from lrps.report.cost_words import CostWords, spoken
from lrps.report.first_screen.cards import Card, cards
from lrps.report.first_screen.loss_figure import loss_figure
from lrps.report.first_screen.rates_figure import rates_figure
from lrps.report.first_screen.ratio_table import RatioRow, one_speed, ratio_rows, warning
from lrps.report.first_screen.speeds_figure import speeds_figure
from lrps.report.first_screen.what_if import WhatIf, WhatIfRow, what_if, what_if_rows
from lrps.report.headline import opening

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class FirstScreen:
    """First screen of a comparison."""

    comparison: Comparison

    @property
    def title(self) -> str:
        """Heading of the page."""
        number = len(self.comparison.plan.versions)
        return f"{self.comparison.plan.name}: what {number} version{'s' if number > 1 else ''} cost"

    @property
    def sentence(self) -> str:
        """The sentences below it."""
        return " ".join(opening(self.comparison))

    @property
    def facts(self) -> str:
        """One line: price, devices, date, and the loss of the newest version of every way of training."""
        comparison, measured = self.comparison, self.comparison.graph.measured
        price = comparison.price
        facts = [f"{price.amount:.10g} {price.currency} a device-hour" if price else "no price: costs are device time"]
        if measured is not None:
            facts += [f"{measured.processes} × {measured.device}", f"last written {(comparison.updated or '')[:10]}"]
        ways = comparison.answers.ways
        losses = [f"{spoken(way.name)}{NB}{loss(way.seen_loss)}" for way in ways if way.seen_loss is not None]
        if losses:
            facts.append(f"held-out loss of {comparison.plan.versions[-1].name}: {', '.join(losses)}")
        return " · ".join(facts)

    @property
    def cards(self) -> tuple[Card, ...]:
        """The four cards."""
        return cards(self.comparison)

    @property
    def warning(self) -> tuple[str, str] | None:
        """Head and text of the warning about unequal speeds."""
        return warning(self.comparison)

    @cached_property
    def slots(self) -> dict[str, int]:
        """Number of the colour of each way of training, by name."""
        return {way.name: index % SLOTS for index, way in enumerate(self.comparison.answers.ways)}

    @property
    def ratios(self) -> list[RatioRow]:
        """Rows of the table of ratios."""
        return ratio_rows(self.comparison, self.slots)

    @property
    def one_speed(self) -> str:
        """Sentence about the one speed."""
        return one_speed(self.comparison)

    @property
    def cost_unit(self) -> str:
        """Title of the column of costs."""
        return self.comparison.plan.currency or "time"

    @property
    def figures(self) -> dict[str, Markup | None]:
        """Drawings by name; None for one that cannot be drawn yet."""
        drawings: dict[str, Drawing | None] = {
            "rates": rates_figure(self.comparison),
            "loss": loss_figure(self.comparison),
            "speeds": speeds_figure(self.comparison),
        }
        return {name: None if drawing is None else Markup(drawing.inline()) for name, drawing in drawings.items()}

    @cached_property
    def panel(self) -> WhatIf:
        """The what-if panel as it starts."""
        return what_if(self.comparison)

    @property
    def panel_rows(self) -> list[WhatIfRow]:
        """Rows of the what-if panel as it starts."""
        answers = self.comparison.answers
        switching = next((way.name for way in answers.ways if way.kind == "path-switching"), None)
        # Without path switching in the plan its colour is the first that no way of training has.
        own = len(self.slots) % SLOTS if switching is None else self.slots[switching]
        slots = (own, self.slots[answers.base("ptfs").name], self.slots[answers.base("cpt").name])
        return what_if_rows(self.comparison, self.panel, slots)

    @property
    def panel_data(self) -> Markup:
        """Data of the script as JSON; `<` is escaped, since a name could otherwise end the element."""
        return Markup(json.dumps(self.panel.data).replace("<", "\\u003c"))

    @property
    def step(self) -> str:
        """Cost of one step at the one speed, in words."""
        hours = self.comparison.pace.hours(1)
        return "" if hours is None else CostWords(None).amount(hours, None)

    @property
    def script(self) -> Markup:
        """Script of the what-if panel."""
        return Markup((_HERE / "what_if.js").read_text(encoding="utf-8"))

    @property
    def style(self) -> Markup:
        """Style sheet of the first screen."""
        return Markup((_HERE / "screen.css").read_text(encoding="utf-8"))


def strong(text: str) -> Markup:
    """Return a text with what is between `**` in bold type, everything else escaped."""
    parts = text.split("**")
    return Markup("").join(
        Markup("<b>{}</b>").format(part) if index % 2 else escape(part) for index, part in enumerate(parts)
    )
