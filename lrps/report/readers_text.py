"""Readers of a source for people: the paths, releases and exports that contain it."""

from __future__ import annotations

from collections.abc import Iterator

from lrps.audit.readers import SourceRead
from lrps.base.numbers import count, short
from lrps.costs.readers_document import DerivedSet, ReadersDocument
from lrps.report.table import Column, Table, text_column
from lrps.report.terminal import print_sentence, print_table


def print_readers(document: ReadersDocument) -> None:
    """Print the tables that have rows, and what follows from them."""
    for table in (paths_table(document), releases_table(document), exports_table(document)):
        if table.rows:
            print_table(table)
    for line in readers_lines(document):
        print_sentence(line)


def paths_table(document: ReadersDocument) -> Table:
    """Return the paths that have read the source or would read it."""
    columns = (
        text_column("path"),
        Column("saved step", count),
        Column("sequences", count),
        Column("tokens", short),
        Column("in steps"),
        Column("epochs", wraps=True),
        Column("to come", count),
        text_column("remark", wraps=True, priority=1),
    )
    rows = (
        (
            *(path.name, path.step, *_cells(path.read), path.sequences_to_come),
            "" if path.in_plan else "of another plan, or no path of this one",
        )
        for path in document.paths
    )
    return Table(f"{document.source}: paths of {document.run_dir}", columns, tuple(rows))


def _cells(read: SourceRead | None) -> tuple[int | str | None, ...]:
    if read is None:
        return 0, 0, None, None
    epochs = ", ".join(f"{epoch.epoch}: {epoch.sequences:,} of {epoch.of:,}" for epoch in read.epochs)
    return read.sequences, read.tokens, f"{read.first_step:,} .. {read.last_step:,}", epochs


def releases_table(document: ReadersDocument) -> Table:
    """Return the trained releases that contain the source."""
    columns = (
        *(text_column("version"), text_column("path"), Column("step", count)),
        *(Column("sequences", count), Column("tokens", short), text_column("released by", wraps=True)),
    )
    rows = (
        (each.version, each.path, each.step, each.read.sequences, each.read.tokens, ", ".join(each.paradigms))
        for each in document.releases
    )
    return Table(f"{document.source}: releases that contain it", columns, tuple(rows))


def exports_table(document: ReadersDocument) -> Table:
    """Return the exported models that contain the source."""
    columns = (
        text_column("directory", wraps=True),
        text_column("path"),
        Column("step", count),
        Column("sequences", count),
    )
    rows = ((each.directory, each.path, each.step, each.sequences) for each in document.exports)
    return Table(f"{document.source}: exported models that contain it", columns, tuple(rows))


def readers_lines(document: ReadersDocument) -> Iterator[str]:
    """Yield what follows from the tables, a sentence or two a line."""
    source = document.source
    read = [path.name for path in document.paths if path.read is not None]
    planned = [path.name for path in document.paths if path.sequences_to_come]
    if not read:
        yield f"{source}: no saved state of {document.run_dir} contains a sequence of it."
    if planned:
        yield f"Would read it if trained further: {', '.join(planned)}."
    for derived in document.derived:
        command = f"`lrps data readers CONFIG {derived.name}`"
        yield f"{derived.name} {_how(derived, source)}: {command} shows who has read that."
    if (initial := document.initial) is not None:
        same = {True: "the same data", False: "other data of this name", None: "data of this name"}[initial.same_data]
        yield f"The plan starts from {initial.where}, which has read {count(initial.sequences)} sequences of {same}."
    if not document.proved:
        yield f"NOT PROVED, so this list may be incomplete: {document.difference}"


def _how(derived: DerivedSet, source: str) -> str:
    ways = [f"has demonstrations from {source}"] if derived.demonstrations else []
    ways += [f"was written by {model}, which has read {source}" for model in derived.models]
    return " and ".join(ways)
