"""Run directory of a plan in words: where it is, and what of the plan is in it."""

from __future__ import annotations

import os

from lrps.base.numbers import count
from lrps.costs.planned.path_plan import PathPlan
from lrps.costs.planned.plan_document import PlanDocument


def run_directory_line(document: PlanDocument) -> str:
    """Return the absolute place of the run directory, and whether it is new or how much of the plan it has.

    document: with the steps that exist already.
    """
    # A main path that paradigms share is longest in one of them.
    longest: dict[str, PathPlan] = {}
    for path in (path for paradigm in document.paradigms.values() for path in paradigm.paths):
        if path.name not in longest or path.stop_step > longest[path.name].stop_step:
            longest[path.name] = path
    trained = sum(path.done_steps == path.cost.steps for path in longest.values())
    begun = sum(0 < path.done_steps < path.cost.steps for path in longest.values())
    where = f"Run directory: {os.path.abspath(document.run_dir)}"
    if not trained and not begun:
        return f"{where}: nothing of this plan is trained there yet."
    partly = f", {count(begun)} more in part" if begun else ""
    return f"{where}: continues, {count(trained)} of {count(len(longest))} paths are trained{partly}."
