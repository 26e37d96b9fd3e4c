"""The plan as tables and sentences for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from lrps.base.numbers import amount, count, device_time, flops, ratio, short, size
from lrps.costs.forecasts.known_losses import optimizer_remark
from lrps.costs.forecasts.planned_loss import PlannedLoss
from lrps.costs.planned.checkpoint_interval import CheckpointInterval, UnknownInterval
from lrps.costs.planned.main_watch import MainWatch
from lrps.costs.planned.memory_forecast import MemoryForecast, StageMemory
from lrps.costs.planned.path_plan import PathPlan, RowRange, ranges_of
from lrps.costs.planned.plan_document import (
    CandidatePlan,
    GraphCost,
    ParadigmPlan,
    PlanDocument,
    PlannedCost,
    ProbesPlan,
)
from lrps.costs.planned.read_forecast import ReadForecast
from lrps.report.run_directory import run_directory_line
from lrps.report.table import Column, Table, text_column
from lrps.report.tables.loss_column import LOSS_NOTE, with_losses
from lrps.report.tables.parts_table import parts_table
from lrps.report.tables.probe_table import shares
from lrps.report.terminal import print_sentence, print_table


def print_plan(
    document: PlanDocument,
    not_counted: str | None = None,
    lines: Sequence[str] = (),
    losses: Mapping[str, PlannedLoss] | None = None,
) -> None:
    """Print the data, every path of every paradigm, the costs, the memory of a device and how often to save.

    not_counted: the reason why FLOPs and disk are not known, if they are not. lines: sentences about the costs. losses:
    those of the branches, by name.
    """
    for table in plan_tables(document, losses or {}):
        print_table(table)
    if document.flops_per_token is None and not_counted is not None:
        print_sentence(f"FLOPs, disk and memory are n/a: {not_counted}")
    watching = (watching_line(name, watch) for name, watch in document.watching.items())
    of_losses = [LOSS_NOTE, *filter(None, [optimizer_remark(document.optimizer)])] if losses else []
    for line in (
        *lines,
        *of_losses,
        *watching,
        *map(reading_line, document.reads or ()),
        *interval_lines(document.checkpoint_interval),
        run_directory_line(document),
    ):
        print_sentence(line)


def watching_line(path: str, watch: MainWatch) -> str:
    """Return when a main path is evaluated while it is trained, and what that costs."""
    if not watch.evaluated_steps:
        return f"{path}: it is evaluated while it is trained, once held-out shards exist."
    times, hours = len(watch.evaluated_steps), watch.device_hours
    cost = f"as much as {amount(watch.steps)} of its steps ({ratio(watch.share_of_path)})"
    cost += "" if hours is None else f", {device_time(hours)} of device time"
    line = f"{path}: evaluated after {count(times)} step{'' if times == 1 else 's'} while it is trained: {cost}."
    if watch.is_dear:
        line += " evaluation.main_max_rows makes that cheaper."
    return line + (f" Not counted: {', '.join(watch.not_counted)}, without shards." if watch.not_counted else "")


def plan_tables(document: PlanDocument, losses: Mapping[str, PlannedLoss] = MappingProxyType({})) -> Iterator[Table]:
    """Yield the tables of a plan in the order in which they are printed; those without rows are left out.

    losses: those of branches, by name.
    """
    yield _versions(document)
    if document.rehearsal:
        yield _rehearsal(document)
    if document.candidates is not None:
        yield _candidates(document.candidates)
    if (parts := parts_table(document)).rows:
        yield parts
    for name, paradigm in document.paradigms.items():
        rows = tuple(_path_row(path, ranges_of(path, paradigm.row_ranges)) for path in paradigm.paths)
        paths = Table(name, _PATH_COLUMNS, rows, tuple(_released_without_branch(paradigm)))
        yield with_losses(paths, [losses.get(path.name) for path in paradigm.paths])
    if document.probes is not None:
        yield _probes(document.probes)
        rows = tuple(_path_row(path, ranges_of(path, document.probes.row_ranges)) for path in document.probes.paths)
        yield Table("paths of probes, beside the paradigms", _PATH_COLUMNS, rows)
    mixes = {path.name: path.mix_tokens for paradigm in document.paradigms.values() for path in paradigm.paths}
    if mixed := {name: mix for name, mix in mixes.items() if mix.replay or mix.rehearsal}:
        columns = (text_column("path"), *(Column(use, short) for use in ("new", "replay", "rehearsal")))
        rows = tuple((name, mix.new, mix.replay, mix.rehearsal) for name, mix in mixed.items())
        yield Table("tokens of the mixed paths", columns, rows)
    yield _totals(document)
    for title, added in (
        ("what the last version adds", document.marginal),
        ("what one more of its size would add", document.next),
    ):
        if added:
            costs = tuple(_cost_cells(name, each.cost, document.currency) for name, each in added.items())
            yield Table(title, _cost_columns(document.currency), costs)
    if document.memory is not None:
        yield memory_table(document.memory)


def _versions(document: PlanDocument) -> Table:
    repeats = any(v.epochs != 1 for v in document.versions)
    epochs = (Column("epochs", amount),) if repeats else ()
    columns = (text_column("version"), Column("sequences", count), *epochs, Column("steps", count))
    rows = tuple(
        (v.name, v.rows, *((v.epochs,) if repeats else ()), v.steps, v.tokens, v.remainder_rows)
        for v in document.versions
    )
    notes = tuple(
        f"{v.name} holds out no whole sequence: all losses on it are n/a."
        for v in document.versions
        if v.heldout_rows == 0
    )
    title = f"{document.name}: data versions"
    return Table(title, (*columns, Column("tokens", short), Column("sequences left over", count)), rows, notes)


def _rehearsal(document: PlanDocument) -> Table:
    columns = (text_column("set"), text_column("since"), Column("sequences", count), Column("tokens", short))
    rows = tuple((r.name, r.since, r.rows, r.tokens) for r in document.rehearsal)
    return Table("rehearsal sets", columns, rows)


def _candidates(candidates: Sequence[CandidatePlan]) -> Table:
    columns = (text_column("candidate"), Column("sequences", count), Column("tokens", short))
    rows = tuple((each.name, each.rows, each.tokens) for each in candidates)
    notes = (
        f"{each.name} holds out no whole sequence: all losses on it are n/a."
        for each in candidates
        if each.heldout_rows == 0
    )
    return Table("candidate sets, which only probes read", columns, rows, tuple(notes))


def _probes(planned: ProbesPlan) -> Table:
    columns = (text_column("probe"), text_column("data", wraps=True), text_column("path"), text_column("control"))
    rows = tuple((each.name, shares(each.shares), each.path, each.control) for each in planned.probes)
    return Table("probes", columns, rows)


_PATH_COLUMNS = (
    text_column("path"),
    text_column("from", wraps=True),
    text_column("sequences", wraps=True, priority=2),
    Column("steps"),
    Column("tokens", short),
    Column("FLOPs", flops, priority=3),
    Column("device time", device_time),
    Column("LR first", "{:.2e}".format, priority=4),
    Column("LR last", "{:.2e}".format, priority=4),
    Column("done", ratio, priority=1),
)


def _released_without_branch(paradigm: ParadigmPlan) -> Iterator[str]:
    """Yield a sentence for every version that the main path releases."""
    main = {path.name for path in paradigm.paths if path.kind == "main"}
    for release in (each for each in paradigm.releases if each.path in main):
        first, last = release.states[0], release.states[-1]
        merged = f"; the states that it averages, from step {first:,} to {last:,}, are kept" if first < last else ""
        yield f"{release.label} is released from {release.path} at step {release.step:,}, without a branch{merged}."


def _path_row(path: PathPlan, ranges: Sequence[RowRange]) -> tuple[str | float | None, ...]:
    origin = "start" if path.parent is None else f"{path.parent.path} @ {path.parent.step:,}"
    return (
        path.name,
        origin + (" (optimizer reset)" if path.optimizer == "reset" else ""),
        row_ranges(ranges),
        f"{path.start_step:,} .. {path.stop_step:,}",
        path.cost.tokens,
        path.cost.flops,
        path.cost.device_hours,
        path.lr_start,
        path.lr_stop,
        path.done_steps / path.cost.steps,
    )


def row_ranges(data: Sequence[RowRange]) -> str:
    """Return the sequences that a path reads as source[from:to]; of more than three ranges the first and the last."""
    shown = data if len(data) <= 3 else (data[0], data[-1])
    texts = [f"{part.source}[{short(part.from_row)}:{short(part.to_row)}]" for part in shown]
    return (" " if len(data) <= 3 else " .. ").join(texts)


def _totals(document: PlanDocument) -> Table:
    currency, graph, to_do = document.currency, document.graph, document.to_do
    columns = (Column("disk", size), Column("of PTFS", ratio), Column("of CPT", ratio))
    rows: list[tuple[str | float | None, ...]] = [
        (*_cost_cells(name, p.cost, currency), _disk(p), p.ratio_to_ptfs, p.ratio_to_cpt)
        for name, p in document.paradigms.items()
    ]
    if document.probes is not None:
        rows.append((*_cost_cells("probes", document.probes.cost, currency), None, None, None))
    rows.append((*_cost_cells("all, shared paths once", graph.cost, currency), _disk(graph), None, None))
    rows.append((*_cost_cells("still to do", to_do, currency), None, None, None))
    notes: tuple[str, ...] = ()
    if to_do.wall_clock_hours is not None:
        hours = device_time(to_do.wall_clock_hours)
        notes = (f"Still to do takes {hours} with all devices at work together.",)
    return Table("totals", (*_cost_columns(currency), *columns), tuple(rows), notes)


def _disk(part: GraphCost | ParadigmPlan) -> int | None:
    """Return the bytes of all checkpoints that are kept, with those to rewind to."""
    return None if part.checkpoint_bytes is None else part.checkpoint_bytes + (part.rewind_bytes or 0)


def _cost_columns(currency: str | None) -> tuple[Column, ...]:
    columns = (
        text_column("paradigm"),
        Column("steps", count),
        Column("tokens", short, priority=1),
        Column("FLOPs", flops, priority=2),
        Column("device time", device_time),
    )
    return (*columns, Column(currency, amount)) if currency else columns


def _cost_cells(name: str, cost: PlannedCost, currency: str | None) -> tuple[str | float | None, ...]:
    cells = (name, cost.steps, cost.tokens, cost.flops, cost.device_hours)
    return (*cells, cost.money) if currency else cells


_MEMORY_PARTS = {
    "weights": 1,
    "gradients": 1,
    "master": 2,
    "moments": 1,
    "buckets": 3,
    "activations": 1,
    "logits": 2,
}
"""Parts of the peak -> priority of their column."""


def memory_table(forecast: MemoryForecast) -> Table:
    """Return the forecast by ZeRO stage; the config's own stage is marked *, and the notes say what to do."""
    columns = (
        text_column("ZeRO"),
        *(Column(part, size, priority=priority) for part, priority in _MEMORY_PARTS.items()),
        Column("peak", size),
        Column("of device", ratio),
        Column("largest micro_sequences"),
    )
    rows = tuple(
        (
            f"{stage} *" if stage == forecast.zero_stage else str(stage),
            *(found.weights_bytes, found.gradients_bytes, found.master_bytes, found.moments_bytes),
            *(found.buckets_bytes, found.activations_bytes, found.logits_bytes, found.peak_bytes),
            found.share_of_device,
            _fitting(forecast, found),
        )
        for stage, found in forecast.stages.items()
    )
    title = f"memory of one device, forecast: micro-batches of {forecast.micro_sequences} sequences"
    return Table(title, columns, rows, tuple(memory_notes(forecast)))


def _fitting(forecast: MemoryForecast, found: StageMemory) -> str | None:
    if forecast.device_bytes is None:
        return None
    return count(found.largest_micro_sequences) if found.largest_micro_sequences else "none fits"


def memory_notes(forecast: MemoryForecast) -> list[str]:
    """Return what the forecast says of the config's own stage, and what it leaves out."""
    group = f"{forecast.device}, {count(forecast.processes)} process{'' if forecast.processes == 1 else 'es'} a group"
    left_out = f"A forecast of a step's fullest moment; it leaves out {forecast.left_out}."
    notes = [*_buffer_notes(forecast), left_out]
    if forecast.device_bytes is None:
        return [f"{group}: to see what fits, give hardware.memory_gb.", *notes]
    free = f"with {forecast.headroom:.0%} of {size(forecast.device_bytes)} left free"
    return [f"{group}, ZeRO {forecast.zero_stage}: {_advice(forecast)}, {free}.", *notes]


def _buffer_notes(forecast: MemoryForecast) -> list[str]:
    """Return what differs from usual: devices that share sequences; offloaded state and a buffer for sums."""
    own, notes = forecast.own_stage, []
    if forecast.sequence_parallel is not None:
        notes.append(
            f"{forecast.sequence_parallel} devices share each sequence: activations and logits are those of its parts."
        )
    if own.host_bytes is not None:
        notes.append(
            f"Each process offloads {size(own.host_bytes)} to the memory of its host, without the copies for "
            "asynchronous saves."
        )
    if own.summed_bytes is not None:
        notes.append(
            f"{size(own.summed_bytes)} of the gradients are sums of the micro-batches in fp32; ZeRO 2 and 3 divide "
            "these among the devices."
        )
    return notes


def _advice(forecast: MemoryForecast) -> str:
    fits, wanted = forecast.own_stage.largest_micro_sequences, forecast.micro_sequences
    if fits is None:
        return (
            "not even one sequence fits: take a higher ZeRO stage, more processes, engine.activation_checkpointing or "
            "engine.sequence_parallel"
        )
    if fits == wanted:
        return f"batch.micro_sequences {wanted} is the largest that fits"
    if fits > wanted:
        return f"batch.micro_sequences {fits} fits too, in fewer micro-batches a step"
    return f"batch.micro_sequences {wanted} does not fit; take {fits}"


def reading_line(read: ReadForecast) -> str:
    """Return how often data that is larger than the memory of a host is read from storage, and what to do."""
    group = f"{count(read.processes)} process{'' if read.processes == 1 else 'es'}"
    return (
        f"{read.source}: its {size(read.data_bytes)} are more than the memory of a host, {size(read.host_bytes)}. With "
        f"data.order: full, {group} read about {size(round(read.factor * read.data_bytes))} from storage, "
        f"{amount(read.factor)} times as much: each reads whole blocks of {size(read.block_bytes)} to check them, and "
        f"then single sequences. data.order: window reads the data {amount(read.window_factor)} times; a run that was "
        "begun keeps its order."
    )


def interval_lines(interval: CheckpointInterval | UnknownInterval | None) -> list[str]:
    """Return the advice how often to save, a sentence or two a line."""
    if interval is None:
        return []
    failing = f"A run on {count(interval.devices)} devices fails every {amount(interval.mtbf_hours)} hours"
    if isinstance(interval, UnknownInterval):
        return [f"{failing}; to say how often to save, give {' and '.join(interval.missing)}."]
    bound = ", which is what writing takes" if interval.bounded_by_write else ""
    configured = interval.configured
    return [
        f"{failing}. Save every {amount(interval.every_minutes)} minutes{bound}: checkpoint.every_steps "
        f"{interval.every_steps} (Daly; Young says {amount(interval.young_minutes)}). Expected waste "
        f"{interval.waste_share:.2%}.",
        f"From a stall of {amount(interval.stall_seconds)} s a save ({interval.stall_basis}), steps of "
        f"{amount(interval.step_seconds)} s ({interval.step_basis}), restarts of {amount(interval.restart_seconds)} s "
        f"({interval.restart_basis}).",
        "The config saves at branch points and at the end of a path only: set checkpoint.every_steps."
        if configured is None
        else f"The config saves every {amount(configured.every_minutes)} minutes: expected waste "
        f"{configured.waste_share:.2%}.",
    ]
