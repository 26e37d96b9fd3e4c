"""Figures over the versions: cumulative hours with what they rest on, and what later versions forget."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from lrps.charts.figure import Figure
from lrps.costs.comparison import make_comparison
from lrps.report.figures.versions import cumulative_cost, older_data_losses
from lrps.report.tags import START_UP


def said(figure: Figure | None, panel: int) -> list[str]:
    """What the markers say."""
    assert figure is not None
    root = ElementTree.fromstring(figure.panels[panel][1].inline())
    return [title.text or "" for group in root.iter("g") for title in group.iter("title")]


def axis(figure: Figure, panel: int) -> list[str]:
    root = ElementTree.fromstring(figure.panels[panel][1].inline())
    return [text.text or "" for text in root.iter("text")]


def test_hours_add_up_to_what_the_paradigm_cost(trained: Any) -> None:
    comparison = make_comparison(trained)
    figure = cumulative_cost(comparison)
    last = {hint.split()[0]: float(hint.split()[2]) for hint in said(figure, 1) if " v4: " in hint}
    assert last == {
        name: pytest.approx(paradigm.measured.device_hours, rel=0.01) for name, paradigm in comparison.paradigms.items()
    }
    assert "measured, all versions so far" in axis(figure, 1)
    assert figure.caption.endswith(START_UP)


def test_hours_say_that_some_are_modelled(make: Any, formulas: Any) -> None:
    plan = make()
    formulas.Run(plan).train(["main", "branch-v1"])
    assert "measured or modelled, all versions so far" in axis(cumulative_cost(make_comparison(plan)), 1)


def test_hours_that_nobody_knows_are_not_drawn(make: Any) -> None:
    figure = cumulative_cost(make_comparison(make()))
    assert [name for name, _ in figure.panels] == ["cumulative-cost"]
    assert START_UP not in figure.caption


def test_forgetting_is_the_loss_on_older_data_against_when_it_was_new(trained: Any, formulas: Any) -> None:
    loss = formulas.heldout_loss
    figure = older_data_losses(make_comparison(trained))
    new = {"v1": loss("ptfs", "v1", "v1"), "v2": loss("cpt", "v2", "v2"), "v3": loss("cpt", "v3", "v3")}
    change = sum(loss("cpt", "v4", old) - value for old, value in new.items()) / 3
    assert change < -0.005
    assert f"cpt v4: {change:+.4f} change of held-out loss, nats per token, measured" in said(figure, 1), (
        "cpt v1 is ptfs v1"
    )
    assert len(said(figure, 1)) == 3 * 3, "version 1 has no older data"
    assert f"cpt v4: {loss('cpt', 'v4', 'v1'):.4f} held-out loss, nats per token, measured" in said(figure, 0)


def test_a_version_that_lacks_a_loss_has_no_change(make: Any, formulas: Any) -> None:
    plan = make(paradigms={"path-switching": {}})
    formulas.Run(plan).train(["main", "branch-v1", "branch-v3", "branch-v4"])
    figure = older_data_losses(make_comparison(plan))
    assert figure is not None
    assert [name for name, _ in figure.panels] == ["loss-on-oldest"], "v2 is missing, and all later ones need it"


def test_one_version_cannot_age(make: Any, formulas: Any) -> None:
    plan = make(versions=1)
    formulas.Run(plan).train()
    assert older_data_losses(make_comparison(plan)) is None
