"""What a status says in lines of text: the totals, the warnings, and all of it where there is no terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from lrps.base.numbers import NOT_APPLICABLE, amount, count, duration, loss, ratio, short
from lrps.costs.plan_document import ParentStep
from lrps.report.tree import tree_rows


def status_rows(paths: Iterable[Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return each path of a status and its name behind the lines of the tree, parents before children."""
    parents = {path["name"]: path["parent"] and ParentStep(**path["parent"]) for path in paths}
    rows = tree_rows([SimpleNamespace(name=path["name"], parent=parents[path["name"]], path=path) for path in paths])
    return [(drawn, row.path) for drawn, row in rows]


def mfu_text(value: float | None) -> str:
    """A percentage; what is there is never shown as 0."""
    return "<0.1%" if value is not None and 0 < value < 0.0005 else ratio(value)


def done_share(path: Mapping[str, Any]) -> float:
    """How much of its steps a path has done; of one that does not run, what its newest checkpoint holds."""
    here = path["live_step"] if path["state"] == "running" else path["step"]
    steps = path["stop_step"] - path["start_step"]
    return float(min(max(here - path["start_step"], 0), steps) / steps)


def totals_line(document: Mapping[str, Any]) -> str:
    """Steps, device-hours and money of the graph, so far and to come."""
    total, to_come = document["total_steps"], document["to_come"]
    currency = document["currency"]
    basis = "" if to_come["basis"] is None else f", {to_come['basis']}"
    done = total - to_come["steps"]
    return (
        f"{count(done)} of {count(total)} steps ({ratio(done / total)}); "
        f"spent {_cost(document['spent'], currency)}; to come {_cost(to_come, currency)}{basis}; "
        f"ETA {duration(document['eta_seconds'])}"
    )


def _cost(cost: Mapping[str, Any], currency: str | None) -> str:
    money = f" ({amount(cost['money'])} {currency})" if currency else ""
    return f"{amount(cost['device_hours'])} device-hours{money}"


def warning_lines(document: Mapping[str, Any]) -> list[str]:
    """One a path that something is wrong with."""
    return [f"warning: {path['name']}: {path['warning']}" for path in document["paths"] if path["warning"]]


def states_text(paths: Iterable[Mapping[str, Any]]) -> str:
    """8 complete, 6 planned."""
    return ", ".join(f"{number} {state}" for state, number in Counter(path["state"] for path in paths).items())


def status_block(document: Mapping[str, Any]) -> Iterator[str]:
    """The time and the totals, a line for every path that is under way or in trouble, and the warnings."""
    time = datetime.fromisoformat(document["time"]).astimezone().strftime("%H:%M:%S")
    yield f"{time} {document['name']}: {document['state']}: {states_text(document['paths'])}"
    yield f"  {totals_line(document)}"
    yield from (f"  {path_line(p)}" for p in document["paths"] if p["state"] not in ("planned", "trained", "complete"))
    yield from (f"  {line}" for line in warning_lines(document))


def job_text(path: Mapping[str, Any]) -> str:
    """The job of a path in Slurm: `12 PENDING (Dependency)`, or n/a."""
    job = path["slurm"]
    if job is None:
        return NOT_APPLICABLE
    reason = f" ({job['reason']})" if job["state"] == "PENDING" and job["reason"] else ""
    return f"{job['job_id']} {job['state'] or 'unknown'}{reason}"


def path_line(path: Mapping[str, Any]) -> str:
    """Where one path stands."""
    text = f"{path['name']}: {path['state']}, step {count(path['live_step'])} of {count(path['stop_step'])}"
    text += f", loss {loss(path['loss'])}"
    text += f", job {job_text(path)}" if path["slurm"] else ""
    if path["state"] != "running":
        return text
    text += f", {short(path['tokens_per_second'])} tokens/s, MFU {mfu_text(path['mfu'])}"
    return f"{text}, ETA {duration(path['eta_seconds'])}"
