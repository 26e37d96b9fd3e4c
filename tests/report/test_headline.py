"""The headline: what it says of finished, half-done and planned runs, and of unequal speeds."""

from __future__ import annotations

from typing import Any

import pytest

from lrps.base.amounts import bill_time, percentage
from lrps.costs.comparison import make_comparison
from lrps.report.comparison_text import comparison_markdown
from lrps.report.headline import headline


def time(seconds: float) -> str:
    return bill_time(seconds / 3600).replace("\N{NO-BREAK SPACE}", " ")


def test_it_answers_the_four_questions(trained: Any) -> None:
    assert headline(make_comparison(trained)) == (
        "4 versions by path switching cost EUR 0.0913 (2 min 44 s of device time), measured; EUR 0.0580 of it is "
        "training. Training takes 58.0% of what training every version from scratch (PTFS) would and 145.0% of what "
        "continual pre-training (CPT) would. The next version adds EUR 0.0160. Faults and start-up cost EUR 0.0278, "
        "30.4% of the bill. Held-out loss of v4, mean over all versions: path switching 2.1610, PTFS 2.1490, "
        "CPT 2.2450."
    )


def test_unequal_speeds_are_reported_with_their_range(make: Any, formulas: Any, monkeypatch: Any) -> None:
    plan = make()
    for path in plan.graph.paths:
        monkeypatch.setattr(formulas, "SECONDS_A_STEP", 0.3 if path.kind == "cpt" else 0.036)
        formulas.Run(plan).train([path.name])
    said = headline(make_comparison(plan))
    # The first version of CPT and of PTFS are one path, at the speed of the others.
    ratio = percentage(2900 * 0.036 / (1500 * 0.3 + 500 * 0.036))
    assert (
        "At one speed, training takes 58.0% of what training every version from scratch (PTFS) would and 145.0% of "
        "what continual pre-training (CPT) would. Speeds differed 8.3-fold: a step took from 36.0 ms to 300 ms of "
        f"device time; as it ran, training took 58.0% of PTFS and {ratio} of CPT. The" in said
    )


def test_faults_are_waste(make: Any, formulas: Any) -> None:
    plan = make(paradigms={"path-switching": {}}, versions=1)
    formulas.Run(plan).train(fail_at={"branch-v1": (400, 300)})
    steps, rest = 600 * 0.036, 10 + 2 + 10 + 2 + 10 + 2
    said = headline(make_comparison(plan))
    assert f"1 version by path switching cost {time(steps + rest)} of device time, measured" in said
    assert f"{time(500 * 0.036)} of it is training." in said
    waste = 100 * 0.036 + 3 * 10
    assert f"Faults and start-up cost {time(waste)}, {percentage(waste / (steps + rest))} of the bill." in said


def test_a_half_done_run_says_what_is_spent_and_has_no_ratio_as_it_ran(make: Any, formulas: Any) -> None:
    plan = make()
    formulas.Run(plan).train(["main", "branch-v1"], stop_at={"main": 900})
    said = headline(make_comparison(plan))
    spent = time(1200 * 0.036 + 2 * 12)
    assert f"will cost about 1 min 44 s in training; {spent} is spent so far, for 1,200 of 2,900 steps." in said
    assert "of the bill so far" in said
    assert "as it ran" not in said


def test_steps_where_no_speed_is_known(make: Any) -> None:
    said = headline(make_comparison(make()))
    assert "4 versions by path switching take 2,900 steps. No cost has been measured yet" in said
    assert "The next version adds 800 steps." in said


@pytest.mark.parametrize("kind", ["ptfs", "cpt"])
def test_a_plan_without_path_switching_is_compared_with_the_other(make: Any, kind: str) -> None:
    said = headline(make_comparison(make(paradigms={kind: {}})))
    assert ("from scratch (PTFS)" in said, "pre-training (CPT)" in said) == (kind != "ptfs", kind != "cpt")


def test_markdown_emphasizes_its_numbers(trained: Any) -> None:
    assert "Training takes **58.0%** of what" in comparison_markdown(make_comparison(trained))
