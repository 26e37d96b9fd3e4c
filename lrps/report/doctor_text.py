"""Findings of `lrps doctor` on standard output as they come, and the ranks of `--nodes` as tables."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self

from rich.console import Console
from rich.status import Status
from rich.text import Text

from lrps.base.numbers import size
from lrps.report.table import Column, Table, text_column
from lrps.report.terminal import output_console, print_table, wrap_words

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


class _Finding(Protocol):
    """Finding of lrps.doctor.finding, which this package must not import."""

    @property
    def area(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def what(self) -> str: ...
    @property
    def way_out(self) -> str: ...


class _Check(Protocol):
    """Check of lrps.doctor.examination, which this package must not import."""

    @property
    def title(self) -> str: ...
    @property
    def slow(self) -> bool: ...


class FindingPrinter:
    """Printer of findings, with how to fix them, and of the check that runs on the last line of a terminal."""

    def __init__(self, quiet: bool = False) -> None:
        self._quiet, self._states = quiet, Counter[str]()
        self._console = output_console()
        self._status: Status | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_rest: object) -> None:
        self._end_status()
        if not self._quiet and kind is None:
            counts = ", ".join(f"{self._states[state]} {state}" for state in _STYLES)
            self._console.print(f"\n{counts}", markup=False)

    def working(self, check: _Check) -> None:
        """Show that a check runs, if it is a slow one."""
        self._end_status()
        if check.slow and not self._quiet and sys.stderr.isatty():
            self._status = Console(stderr=True).status(f"{check.title} ...")
            self._status.start()

    def show(self, finding: _Finding) -> None:
        """Count a finding, and print it."""
        self._states[finding.state] += 1
        if not self._quiet:
            print_finding(
                self._console,
                area=finding.area,
                name=finding.name,
                state=finding.state,
                what=finding.what,
                way_out=finding.way_out,
            )

    def _end_status(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None


def print_finding(console: Console, *, area: str, name: str, state: str, what: str, way_out: str) -> None:
    """Print a finding, and how to fix it on lines of its own."""
    mark = Text(f"{state:<5}", style=_STYLES[state])
    lines = wrap_words(f"{area:<14} {name}: {what}", console.width - len(mark) - 1, " " * 9)
    console.print(mark, Text(("\n" + " " * (len(mark) + 1)).join(lines)))
    if way_out:
        console.print(Text("\n".join(wrap_words(f"      -> {way_out}", console.width, " " * 9))))


def print_nodes(document: Mapping[str, Any]) -> None:
    """Print the ranks by host, the speed of their all-reduce, and the findings."""
    hosts: dict[str, list[Mapping[str, Any]]] = {}
    for rank in document["ranks"]:
        hosts.setdefault(rank["host"], []).append(rank)
    if hosts:
        print_table(_hosts_table(hosts))
    if exchange := document["all_reduce"]:
        print_table(_all_reduce_table(exchange["speeds"]))
    console = output_console()
    for finding in document["findings"]:
        print_finding(console, **finding)


def _hosts_table(hosts: Mapping[str, Sequence[Mapping[str, Any]]]) -> Table:
    columns = (
        text_column("host"),
        text_column("ranks", wraps=True),
        text_column("devices", wraps=True),
        Column("clock", lambda seconds: f"{seconds * 1000:+.1f}", unit="ms"),
        Column("sees the run directory"),
    )
    return Table("nodes", columns, tuple(_host_row(host, ranks) for host, ranks in hosts.items()))


def _host_row(host: str, ranks: Sequence[Mapping[str, Any]]) -> tuple[Any, ...]:
    devices = Counter(rank["device"] for rank in ranks)
    return (
        host,
        ", ".join(str(rank["rank"]) for rank in ranks),
        ", ".join(f"{number} x {name}" for name, number in devices.items()),
        max((rank["clock_seconds"] for rank in ranks), key=abs),
        "yes" if all(rank["sees_the_run"] for rank in ranks) else "no",
    )


def _all_reduce_table(speeds: Sequence[Mapping[str, Any]]) -> Table:
    columns = (
        Column("message", size, align="left"),
        Column("time", lambda seconds: f"{seconds * 1000:.3g}", unit="ms"),
        Column("bus bandwidth", lambda bandwidth: f"{bandwidth / 1e6:,.0f}", unit="MB/s"),
    )
    rows = ((speed["bytes"], speed["seconds"], speed["bus_bytes_per_second"]) for speed in speeds)
    return Table("all-reduce", columns, tuple(rows))
