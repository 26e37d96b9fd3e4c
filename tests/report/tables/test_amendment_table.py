"""What `lrps rewind` changed, as people and programs read it: status, report page, text, Markdown and JSON."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lrps.base.document import to_json
from lrps.costs.comparison import Comparison, make_comparison
from lrps.costs.status_document import StatusDocument, status_document
from lrps.paths.amendments import Amendment
from lrps.plan.plan import Plan
from lrps.plan.rewind import rewind
from lrps.plan.status import plan_status
from lrps.report.comparison_text import comparison_markdown, print_comparison
from lrps.report.page import render_page
from lrps.report.status_lines import status_block, warning_lines
from lrps.report.tables.amendment_table import amendment_table

ENDED = Amendment(1000, peak_lr=1e-3)
IN_FORCE = Amendment(800, skip_from=810, skip=3, peak_lr=2e-4, for_steps=500, clip_grad_norm=0.5, reason="spike <1>")
MARK = "branch-v3 was forked from main before its amendment 1"


@pytest.fixture
def rewound(make: Callable[..., Plan], formulas: Any) -> Plan:
    """A plan whose main path was taken back to step 1,000 and then to step 800, after branch-v3 had forked at 1,200."""
    plan = make()
    run = formulas.Run(plan)
    run.train(["main"], stop_at={"main": 800})
    run.train(["main"], stop_at={"main": 1000})
    run.train(["main", "branch-v1", "branch-v3"])
    for amendment in (ENDED, IN_FORCE):
        rewind(replace(plan), "main", amendment)
    return replace(plan)


@pytest.fixture
def comparison(rewound: Plan) -> Comparison:
    return make_comparison(rewound)


def status(plan: Plan) -> StatusDocument:
    return status_document(plan, plan_status(plan))


def test_documents_have_every_amendment_with_its_time(rewound: Plan, comparison: Comparison) -> None:
    first, second = to_json(comparison)["amendments"]["main"]
    assert list(to_json(comparison)["amendments"]) == ["main"]
    assert (first["number"], first["at"], first["in_force"], first["reason"]) == (1, 1000, False, None)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", second.pop("when"))
    changes = {"peak_lr": 2e-4, "for_steps": 500, "clip_grad_norm": 0.5, "skipped": {"first": 810, "last": 812}}
    assert second == {"number": 2, "at": 800, "reason": "spike <1>", **changes, "in_force": True}
    paths = {path["name"]: path for path in to_json(status(rewound))["paths"]}
    assert paths["main"]["amendments"] == to_json(comparison)["amendments"]["main"]
    assert paths["branch-v3"]["amendments"] == []


def test_the_status_has_a_line_for_each_amendment_in_force(rewound: Plan) -> None:
    document = status(rewound)
    lines = warning_lines(document)
    when = document.paths[0].amendments[1].when
    assert (
        f"note: main: amendment 2 ({when}): taken back to step 800 (spike <1>); peak rate 0.0002 for 500 steps; "
        "gradients clipped to a norm of 0.5; steps that pass without an update: 810 to 812"
    ) in lines
    assert not any("main: amendment 1 " in line for line in lines)
    (mark,) = [line for line in lines if line.startswith("warning: branch-v3: forked from main before its amendment 1")]
    assert f"  {mark}" in list(status_block(document))
    assert not any("branch-v1" in line for line in lines), "it forked at step 200"


def test_a_path_that_was_never_taken_back_has_no_line(make: Callable[..., Plan], formulas: Any) -> None:
    plan = make()
    formulas.Run(plan).train(["main"])
    assert not any("amendment" in line for line in warning_lines(status(plan)))
    comparison = make_comparison(plan)
    assert to_json(comparison)["amendments"] == {}
    assert "amendment" not in render_page(comparison).lower()
    assert "amendment" not in comparison_markdown(comparison).lower()


def test_the_table_says_what_is_unchanged(comparison: Comparison) -> None:
    first, second = amendment_table(comparison).texts
    assert first[:2] + first[3:] == (*("main", "1", "1,000", "0.001", "as planned", "none", "ended", "not given"),)
    assert second[:2] + second[3:] == (
        *("main", "2", "800", "0.0002 for 500 steps", "0.5", "810 to 812", "yes", "spike <1>"),
    )


def test_reports_mark_the_branch_and_have_the_table(comparison: Comparison, capsys: Any, tmp_path: Path) -> None:
    page = render_page(comparison)
    assert f"<p><strong>Warning: {MARK}" in page
    assert "branch-v1 was forked" not in page
    cells = [html.unescape(cell) for cell in re.findall(r"<td[^>]*>([^<]*)</td>", page)]
    assert {"0.0002 for 500 steps", "810 to 812", "spike <1>", "ended"} <= set(cells)
    assert "spike <1>" not in page, "a reason is text, never markup"
    markdown = comparison_markdown(comparison)
    assert f"Warning: {MARK}" in markdown
    assert "## Amendments by lrps rewind" in markdown
    assert "| 0.0002 for 500 steps | 0.5 | 810 to 812 | yes | spike <1> |" in markdown
    print_comparison(comparison)
    said = " ".join(capsys.readouterr().out.split())
    assert f"Warning: {MARK}" in said
    assert "amendments by lrps rewind" in said
