"""Status in lines of text: the totals, the warnings, and all of it where there is no terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime

from lrps.base.numbers import NOT_APPLICABLE, amount, count, device_time, duration, loss, ratio, short
from lrps.costs.remaining import RemainingCost
from lrps.costs.status_document import PathProgress, SpentCost, StatusDocument
from lrps.report.tables.amendment_table import amendment_lines


def mfu_text(value: float | None) -> str:
    """Return an MFU as a percentage; one that is not 0 is never shown as 0."""
    return "<0.1%" if value is not None and 0 < value < 0.0005 else ratio(value)


def done_share(path: PathProgress) -> float:
    """Return the share of its steps that a path has done; unless it is running, only what was saved counts."""
    here = path.live_step if path.state == "running" else path.step
    steps = path.stop_step - path.start_step
    return float(min(max(here - path.start_step, 0), steps) / steps)


def totals_line(document: StatusDocument) -> str:
    """Return the steps, device time and money of the graph, so far and to come."""
    total, to_come = document.total_steps, document.to_come
    done = total - to_come.steps
    basis = "" if to_come.basis is None else f", {to_come.basis}"
    return (
        f"{count(done)} of {count(total)} steps ({ratio(done / total)}); "
        f"device time: {_cost(document.spent, document.currency)} so far, "
        f"{_cost(to_come, document.currency)} to come{basis}; ETA {duration(document.eta_seconds)}"
    )


def _cost(cost: SpentCost | RemainingCost, currency: str | None) -> str:
    return device_time(cost.device_hours) + (f" ({amount(cost.money)} {currency})" if currency else "")


def initial_lines(document: StatusDocument) -> list[str]:
    """Return a line with the held-out losses of the model that the plan starts from, if there are any."""
    found = document.initial_heldout or {}
    losses = ", ".join(f"{version} {loss(heldout.loss)}" for version, heldout in found.items())
    return [f"held-out loss of the initial model: {losses}"] if losses else []


def heldout_lines(document: StatusDocument) -> list[str]:
    """Return a line with the newest held-out losses of each main path that was evaluated."""
    newest = ((path.name, path.newest_heldout) for path in document.paths)
    return [
        f"{name}: held-out loss at step {count(found.step)}: "
        + ", ".join(f"{version} {loss(value)}" for version, value in found.losses.items())
        for name, found in newest
        if found is not None
    ]


def warning_lines(document: StatusDocument) -> list[str]:
    """Return the lines below the totals: warnings, amendments and noticed steps of paths, sets without sequences."""
    lines = [f"warning: {path.name}: {path.warning}" for path in document.paths if path.warning]
    lines += [f"warning: {path.name}: {path.off_forecast}" for path in document.paths if path.off_forecast]
    lines += [f"note: {path.name}: {noticed}" for path in document.paths if (noticed := path.measured.noticed)]
    lines += [f"note: {line}" for line in amendment_lines({path.name: path.amendments for path in document.paths})]
    empty = (f"{version} holds out no whole sequence: all losses on it are n/a" for version in document.without_heldout)
    return [*lines, *(f"note: {line}" for line in empty)]


def states_text(paths: Iterable[PathProgress]) -> str:
    """Return the number of paths in each state, as `8 complete, 6 planned`."""
    return ", ".join(f"{number} {state}" for state, number in Counter(path.state for path in paths).items())


def status_block(document: StatusDocument) -> Iterator[str]:
    """Yield the time, the totals, a line for each path that is under way or in trouble, and the warnings."""
    time = datetime.fromisoformat(document.time).astimezone().strftime("%H:%M:%S")
    yield f"{time} {document.name}: {document.state}: {states_text(document.paths)}"
    yield f"  {totals_line(document)}"
    yield from (f"  {line}" for line in heldout_lines(document))
    at_rest = ("planned", "trained", "complete")
    yield from (f"  {path_line(path)}" for path in document.paths if path.state not in at_rest)
    yield from (f"  {line}" for line in warning_lines(document))


def job_text(path: PathProgress) -> str:
    """Return the Slurm job of a path, as `12 PENDING (Dependency)`, or n/a."""
    job = path.slurm
    if job is None:
        return NOT_APPLICABLE
    reason = f" ({job.reason})" if job.state == "PENDING" and job.reason else ""
    return f"{job.job_id} {job.state or 'unknown'}{reason}"


def path_line(path: PathProgress) -> str:
    """Return the state, step and loss of a path, and of a running one its speed."""
    text = f"{path.name}: {path.state}, step {count(path.live_step)} of {count(path.stop_step)}, loss {loss(path.loss)}"
    text += f", job {job_text(path)}" if path.slurm else ""
    if path.state != "running":
        return text
    text += f", {short(path.tokens_per_second)} tokens/s, MFU {mfu_text(path.mfu)}"
    return f"{text}, ETA {duration(path.eta_seconds)}"
