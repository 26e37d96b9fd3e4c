"""Plans, states and comparisons as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from lrps.report.numbers import NOT_APPLICABLE, amount, count, flops, loss, ratio, rows_text, short, size
from lrps.report.summary import ONE_RUN, headline, still_to_do
from lrps.report.tree import tree_rows


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> None:
    """Print a table; the first `left` columns are text, the others numbers."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < left else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console = _console()
    console.print(title, style="bold", markup=False)  # not the table's own title, which wraps at the table's width
    # A terminal that is too narrow wraps a row, which loses nothing; a table cut to its width would.
    needed = console.measure(table, options=console.options.update(width=1000)).maximum
    console.width = max(console.width, needed)
    console.print(table, markup=False)
    console.print()


def _console() -> Console:
    return Console(highlight=False, soft_wrap=True)


def print_plan(document: Mapping[str, Any]) -> None:
    """The plan as tables: the data, every path of every paradigm, what mixed paths read, totals and marginal cost."""
    print_table(
        f"{document['name']}: data versions",
        ("version", "rows", "steps", "tokens", "rows left over"),
        (
            (v["name"], f"{v['rows']:,}", f"{v['steps']:,}", short(v["tokens"]), str(v["remainder_rows"]))
            for v in document["versions"]
        ),
    )
    if document["rehearsal"]:
        print_table(
            "rehearsal sets",
            ("set", "since", "rows", "tokens"),
            ((r["name"], r["since"], f"{r['rows']:,}", short(r["tokens"])) for r in document["rehearsal"]),
            left=2,
        )
    for name, paradigm in document["paradigms"].items():
        print_table(name, _PATH_COLUMNS, (_path_row(path) for path in paradigm["paths"]), left=3)
    mixes = {p["name"]: p["mix_tokens"] for paradigm in document["paradigms"].values() for p in paradigm["paths"]}
    if mixed := {name: tokens for name, tokens in mixes.items() if tokens["replay"] or tokens["rehearsal"]}:
        rows = ((name, *map(short, tokens.values())) for name, tokens in mixed.items())
        print_table("tokens of the mixed paths", ("path", "new", "replay", "rehearsal"), rows)
    _print_totals(document)


_PATH_COLUMNS = ("path", "from", "rows", "steps", "tokens", "FLOPs", "device-hours", "LR first", "LR last", "done")


def _path_row(path: Mapping[str, Any]) -> tuple[str, ...]:
    parent = path["parent"]
    origin = "start" if parent is None else f"{parent['path']} @ {parent['step']:,}"
    return (
        path["name"],
        origin + (" (optimizer reset)" if path["optimizer"] == "reset" else ""),
        rows_text(path["data"]),
        f"{path['start_step']:,} .. {path['stop_step']:,}",
        short(path["tokens"]),
        flops(path["flops"]),
        amount(path["device_hours"]),
        f"{path['lr_start']:.2e}",
        f"{path['lr_stop']:.2e}",
        ratio(path["done_steps"] / path["steps"]),
    )


def _print_totals(document: Mapping[str, Any]) -> None:
    currency = document["currency"]
    costs = ("paradigm", "steps", "tokens", "FLOPs", "device-hours", *((currency,) if currency else ()))
    rows = [
        (
            *_cost_cells(name, p, currency),
            size(p["checkpoint_bytes"]),
            *(ratio(p["ratio_to_ptfs"]), ratio(p["ratio_to_cpt"])),
        )
        for name, p in document["paradigms"].items()
    ]
    graph = document["graph"]
    rows.append((*_cost_cells("all, shared paths once", graph, currency), size(graph["checkpoint_bytes"]), "", ""))
    rows.append((*_cost_cells("still to do", document["to_do"], currency), "", "", ""))
    print_table("totals", (*costs, "disk", "of PTFS", "of CPT"), rows)
    if (hours := document["to_do"]["wall_clock_hours"]) is not None:
        _console().print(f"Still to do, with all devices of the config at work together: {amount(hours)} hours.\n")
    for title, key in (("what the last version adds", "marginal"), ("what one more of its size would add", "next")):
        added = document[key]
        if added:
            print_table(title, costs, (_cost_cells(name, cost, currency) for name, cost in added.items()))


def _cost_cells(name: str, cost: Mapping[str, Any], currency: str | None) -> tuple[str, ...]:
    """One row of costs; money only where there is a price."""
    cells = (
        name,
        f"{cost['total_steps']:,}",
        short(cost["total_tokens"]),
        flops(cost["total_flops"]),
        amount(cost["device_hours"]),
    )
    return (*cells, amount(cost["money"])) if currency else cells


def print_status(document: Mapping[str, Any]) -> None:
    """The tree of paths: where each stands, its last loss and speed, and what its attempts have cost."""
    currency = document["currency"]
    columns = ["path", "state", "from", "step", "of", "done", "loss", "tokens/s", "device-hours"]
    columns += [currency] if currency else []
    rows = []
    for drawn, path in tree_rows(document["paths"]):
        measured = path["measured"]
        begun = measured["attempts"] > 0
        steps = path["stop_step"] - path["start_step"]
        row = [drawn, path["state"], count(path["start_step"]), count(path["step"]), count(path["stop_step"])]
        row += [ratio((min(path["step"], path["stop_step"]) - path["start_step"]) / steps), loss(path["loss"])]
        row += [short(path["tokens_per_second"]), amount(measured["device_hours"] if begun else None)]
        row += [amount(measured["money"] if begun else None)] if currency else []
        rows.append(row)
    print_table(f"{document['name']}: {document['run_dir']}", columns, rows, left=2)


def print_comparison(document: Mapping[str, Any]) -> None:
    """The paradigms side by side: planned, measured, and the loss that it bought; then what is still to do."""
    console = _console()
    console.print(headline(document), markup=False)
    console.print()
    currency, newest = document["currency"], document["versions"][-1]["name"]
    columns = ["paradigm", "steps", "of PTFS", "of CPT", "measured device-hours"]
    columns += [f"measured {currency}"] if currency else []
    columns += ["measured, of PTFS", "repeated steps", f"held-out loss of {newest}"]
    rows = [_comparison_row(name, paradigm, currency) for name, paradigm in document["paradigms"].items()]
    print_table(f"{document['name']}: comparison", columns, rows)
    versions = [version["name"] for version in document["versions"]]
    print_table(
        "held-out loss, mean over all versions so far (bits per byte on the version's own held-out set)",
        ("paradigm", *versions),
        ((name, *map(_release_cell, p["releases"])) for name, p in document["paradigms"].items()),
    )
    if any(p["releases"][-1]["seen_loss"] is not None for p in document["paradigms"].values()):
        console.print(ONE_RUN, markup=False)
    console.print(still_to_do(document), markup=False)


def _comparison_row(name: str, paradigm: Mapping[str, Any], currency: str | None) -> list[str]:
    measured = paradigm["measured"] or {}
    unfinished = "" if paradigm["complete"] or not measured else " so far"
    row = [name, count(paradigm["total_steps"]), ratio(paradigm["ratio_to_ptfs"]), ratio(paradigm["ratio_to_cpt"])]
    row += [amount(measured.get("device_hours")) + unfinished]
    row += [amount(measured.get("money")) + unfinished] if currency else []
    row += [ratio(paradigm["measured_ratio_to_ptfs"]), count(measured.get("repeated_steps"))]
    return [*row, loss(paradigm["releases"][-1]["seen_loss"])]


def _release_cell(release: Mapping[str, Any]) -> str:
    own = release["heldout"].get(release["version"])
    if release["seen_loss"] is None and own is None:
        return NOT_APPLICABLE
    return f"{loss(release['seen_loss'])} ({loss(own['bits_per_byte'] if own else None)})"
