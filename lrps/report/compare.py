"""Paradigms of one or several runs side by side: measured where they ran, modelled where they did not, and said which.

Path switching always stands beside PTFS and CPT: a kind that a run has no paradigm of is compiled from its config with
default settings, and modelled. Every cell is {value, basis}: measured | modelled | n/a. Steps, tokens and FLOPs of what
was trained to its end hold what was really spent; of the rest they are the plan's. Ratios are within a run, to its
first PTFS and its first CPT. `ratio_to_*` are of training time, in device-hours, as in the report: starting the
processes is booked on whatever path comes first. Where no time is known they are of steps: what a model says that
charges every step alike. `held_ratio_to_*` are of all device-hours held, where both sides were measured to the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lrps import __version__
from lrps.base.errors import ConfigError
from lrps.base.numbers import NOT_APPLICABLE, amount, count, flops, loss, ratio, short
from lrps.config.strategies import Cpt, PathSwitching, Ptfs, Strategy
from lrps.costs.comparison import Comparison, make_comparison
from lrps.costs.document import to_json
from lrps.costs.estimate import CostRate
from lrps.costs.path_spending import RunRecords
from lrps.costs.rehearsal_cost import rehearsal_lines
from lrps.costs.tagged_cost import Basis, TaggedCost
from lrps.plan.plan import Plan
from lrps.report.tags import RATIOS, START_UP, legend, tag, tagged, whole_cost
from lrps.report.totals_table import csv_text, markdown_table

_DEFAULTS: Mapping[str, Callable[[], Strategy]] = {
    "path-switching": lambda: PathSwitching(kind="path-switching"),
    "ptfs": lambda: Ptfs(kind="ptfs"),
    "cpt": lambda: Cpt(kind="cpt"),
}
_COSTS = ("steps", "tokens", "flops", "device_hours", "money", "energy_kwh")
_SHOWN: Mapping[str, tuple[str, Callable[[Any], str]]] = {
    "steps": ("steps", count),
    "tokens": ("tokens", short),
    "flops": ("FLOPs", flops),
    "device_hours": ("device-hours", amount),
    "money": ("money", amount),
    "energy_kwh": ("kWh", amount),
    "goodput": ("goodput", ratio),
    "ratio_to_ptfs": ("training time, of PTFS", ratio),
    "ratio_to_cpt": ("training time, of CPT", ratio),
    "held_ratio_to_ptfs": ("held, of PTFS", ratio),
    "held_ratio_to_cpt": ("held, of CPT", ratio),
    "seen_loss": ("held-out loss", loss),
}
"""Cell -> title, and how it is shown."""


def compare_document(plans: Sequence[Plan]) -> dict[str, Any]:
    """One row a paradigm of every run, in the order of the runs; what the rows rest on is in `runs` and `notes`."""
    samples = [RunRecords.read(plan).samples for plan in plans]
    runs, rows, notes = [], [], []
    for index, plan in enumerate(plans):
        others = [sample for i, of_run in enumerate(samples) if i != index for sample in of_run]
        completed, missing = _with_all_kinds(plan)
        comparison = make_comparison(completed, others)
        name = _label(plans, index)
        runs.append(_run(name, plan, comparison))
        rows += _rows(name, plan, comparison)
        notes += [
            f"{name}: {why}"
            for why in (*missing, *rehearsal_lines(comparison.rehearsal_cost, comparison.plan.currency))
        ]
    return {"runs": runs, "rows": rows, "notes": [*notes, *_differences(runs)], "lrps": __version__}


def _label(plans: Sequence[Plan], index: int) -> str:
    """The run's name, or its directory where another one has that name."""
    names = [plan.config.name for plan in plans]
    return names[index] if names.count(names[index]) == 1 else str(plans[index].layout.run_dir)


def _with_all_kinds(plan: Plan) -> tuple[Plan, list[str]]:
    """The plan with path switching, PTFS and CPT in it; and why one of them is not."""
    missing = []
    for kind, strategy in _DEFAULTS.items():
        if any(each.kind == kind for each in plan.config.paradigms.values()):
            continue
        name = kind if kind not in plan.config.paradigms else f"{kind}-default"
        paradigms = {**plan.config.paradigms, name: strategy()}
        more = replace(plan, config=plan.config.model_copy(update={"paradigms": paradigms}))
        try:
            plan = more if more.graph.paths else plan
        except ConfigError as error:
            missing.append(f"no {kind} beside it: {error}")
    return plan, missing


def _run(name: str, plan: Plan, comparison: Comparison) -> dict[str, Any]:
    return {
        "name": name,
        "run_dir": comparison.plan.run_dir,
        "versions": [version.name for version in comparison.plan.versions],
        "flops_per_token": comparison.plan.flops_per_token,
        "tokens_per_step": plan.config.tokens_per_step,
        "currency": comparison.plan.currency,
        "device": comparison.cost_model.device,
        "cost_model": to_json(comparison.cost_model),
    }


def _rows(run: str, plan: Plan, comparison: Comparison) -> list[dict[str, Any]]:
    paradigms = comparison.paradigms
    bases = {
        kind: whole_cost(next(iter(of_kind)))
        for kind in ("ptfs", "cpt")
        if (of_kind := [paradigm for paradigm in paradigms.values() if paradigm.plan.kind == kind])
    }
    rows = []
    for name, paradigm in paradigms.items():
        cost = whole_cost(paradigm)
        finished = paradigm.estimate is None
        exact = {key: _cell(getattr(cost, key), "measured" if finished else "modelled") for key in _COSTS[:3]}
        priced = {key: _cell(getattr(cost, key), cost.basis) for key in _COSTS[3:]}
        ratios = {f"ratio_to_{kind}": _ratio(cost, bases.get(kind)) for kind in ("ptfs", "cpt")}
        held = {
            f"held_ratio_to_{kind}": _cell(getattr(paradigm.ratios, f"allocated_to_{kind}"), "measured")
            for kind in ("ptfs", "cpt")
        }
        goodput = paradigm.measured.goodput if paradigm.measured else None
        rows.append(
            {
                "run": run,
                "paradigm": name,
                "kind": paradigm.plan.kind,
                "in_config": name in plan.config.paradigms,
                "cells": {
                    **exact,
                    **priced,
                    "goodput": _cell(goodput, "measured"),
                    **ratios,
                    **held,
                    "seen_loss": _cell(paradigm.releases[-1].seen_loss, "measured"),
                },
            }
        )
    return rows


def _cell(value: Any, basis: Basis | None) -> dict[str, Any]:
    return {"value": value, "basis": tag(value, basis)}


def _ratio(cost: TaggedCost, base: TaggedCost | None) -> dict[str, Any]:
    if base is None:
        return _cell(None, None)
    if not (cost.training_hours and base.training_hours):
        return _cell(cost.steps / base.steps, "modelled")
    both_measured = cost.basis == base.basis == "measured"
    return _cell(cost.training_hours / base.training_hours, "measured" if both_measured else "modelled")


def _differences(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """What keeps rows of different runs from being compared."""
    said = {"model": "flops_per_token", "device": "device", "currency": "currency", "batch": "tokens_per_step"}
    differ = [what for what, key in said.items() if len({run[key] for run in runs}) > 1]
    if not differ:
        return []
    return [f"The runs differ in {', '.join(differ)}: ratios hold within a run; costs of different runs tell little."]


def shown(document: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Titles and rows for people; the run in front of the paradigm's name where there are several."""
    several, currencies = len(document["runs"]) > 1, {run["name"]: run["currency"] for run in document["runs"]}
    priced = {currency for currency in currencies.values() if currency}
    titles = {key: title for key, (title, _) in _SHOWN.items()} | {"money": "/".join(sorted(priced))}
    if not several:
        titles["seen_loss"] = f"held-out loss of {document['runs'][0]['versions'][-1]}"
    keys = [key for key in _SHOWN if key != "money" or priced]
    rows = []
    for row in document["rows"]:
        name = f"{row['run']}: {row['paradigm']}" if several else row["paradigm"]
        cells = [_text(row["cells"][key], _SHOWN[key][1]) for key in keys]
        rows.append([name if row["in_config"] else f"{name} (not in the config)", *cells])
    return ["paradigm", *(titles[key] for key in keys)], rows


def _text(cell: Mapping[str, Any], show: Callable[[Any], str]) -> str:
    return tagged(show(cell["value"]), cell["basis"])


def remarks(document: Mapping[str, Any]) -> list[str]:
    """What the numbers rest on, a sentence a line."""
    several = len(document["runs"]) > 1
    modelled = {row["run"] for row in document["rows"] for c in row["cells"].values() if c["basis"] == "modelled"}
    legends = [
        f"{run['name']}: {legend(CostRate(**run['cost_model']))}" if several else legend(CostRate(**run["cost_model"]))
        for run in document["runs"]
        if run["name"] in modelled
    ]
    told = ["Numbers without a mark are measured."] if modelled else ["All numbers are measured."]
    return [*told, *legends, *_bases(document), *document["notes"]]


def _bases(document: Mapping[str, Any]) -> list[str]:
    """What ratios and device-hours are of."""
    hours = [row["cells"]["device_hours"]["basis"] for row in document["rows"]]
    unknown = "Where no device-hours are known, ratios of training time are those of steps."
    measured = [START_UP] if "measured" in hours else []
    return [RATIOS, *([unknown] if NOT_APPLICABLE in hours else []), *measured]


def as_markdown(document: Mapping[str, Any]) -> str:
    """A GitHub table and what its numbers rest on."""
    return "\n\n".join((markdown_table(*shown(document)), *remarks(document))) + "\n"


def as_csv(document: Mapping[str, Any]) -> str:
    """Full precision; behind every value its basis."""
    names = [name for key in _SHOWN for name in (key, f"{key}_basis")]
    currencies = {run["name"]: run["currency"] or NOT_APPLICABLE for run in document["runs"]}
    rows = []
    for row in document["rows"]:
        cells = [row["cells"][key] for key in _SHOWN]
        values = [(NOT_APPLICABLE if cell["value"] is None else cell["value"], cell["basis"]) for cell in cells]
        pairs = [value for pair in values for value in pair]
        rows.append([row["run"], row["paradigm"], row["kind"], currencies[row["run"]], *pairs])
    return csv_text(["run", "paradigm", "kind", "currency", *names], rows)


FORMATS: Mapping[str, tuple[str, Callable[[Mapping[str, Any]], str]]] = {
    "md": ("compare.md", as_markdown),
    "csv": ("compare.csv", as_csv),
}
"""Format -> file and what it holds."""
