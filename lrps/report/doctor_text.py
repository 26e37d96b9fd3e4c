"""What the doctor found, as text: findings as they come, and the ranks of `--nodes` as tables."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, Self

from rich.console import Console
from rich.status import Status
from rich.text import Text

from lrps.base.numbers import NOT_APPLICABLE, size
from lrps.report.text import print_table

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


class _Finding(Protocol):
    """As lrps.doctor.finding has it, which lies above this floor."""

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
    @property
    def title(self) -> str: ...
    @property
    def slow(self) -> bool: ...


class FindingPrinter:
    """Findings on standard output, one a line with its way out below; what is at work now on a terminal's last line."""

    def __init__(self, quiet: bool = False) -> None:
        self._quiet, self._states = quiet, Counter[str]()
        self._console = Console(highlight=False, soft_wrap=True)
        self._status: Status | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_rest: object) -> None:
        self._end_status()
        if not self._quiet and kind is None:
            told = ", ".join(f"{self._states[state]} {state}" for state in _STYLES)
            self._console.print(f"\n{told}", markup=False)

    def working(self, check: _Check) -> None:
        """A check begins; slow ones are told."""
        self._end_status()
        if check.slow and not self._quiet and sys.stderr.isatty():
            self._status = Console(stderr=True).status(f"{check.title} ...")
            self._status.start()

    def show(self, finding: _Finding) -> None:
        self._states[finding.state] += 1
        if not self._quiet:
            print_finding(self._console, finding.__dict__)

    def _end_status(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None


def print_finding(console: Console, finding: Mapping[str, Any]) -> None:
    state = Text(f"{finding['state']:<5}", style=_STYLES[finding["state"]])
    console.print(state, Text(f"{finding['area']:<14} {finding['name']}: {finding['what']}"))
    if finding["way_out"]:
        console.print(Text(f"      -> {finding['way_out']}"))


def print_nodes(document: Mapping[str, Any]) -> None:
    """The ranks by host, how fast they add up, and the findings."""
    console = Console(highlight=False, soft_wrap=True)
    hosts: dict[str, list[Mapping[str, Any]]] = {}
    for rank in document["ranks"]:
        hosts.setdefault(rank["host"], []).append(rank)
    if hosts:
        columns = ("host", "ranks", "devices", "clock, ms", "sees the run directory")
        print_table("nodes", columns, (_host_row(host, ranks) for host, ranks in hosts.items()))
    if exchange := document["all_reduce"]:
        rows = ((size(s["bytes"]), f"{s['seconds'] * 1000:.3g}", _speed(s)) for s in exchange["speeds"])
        print_table("all-reduce", ("message", "ms", "bus bandwidth, MB/s"), rows)
    for finding in document["findings"]:
        print_finding(console, finding)


def _host_row(host: str, ranks: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    here = list(ranks)
    devices = Counter(rank["device"] for rank in here)
    clock = max((rank["clock_seconds"] for rank in here), key=abs)
    return (
        host,
        ", ".join(str(rank["rank"]) for rank in here),
        ", ".join(f"{number} x {name}" for name, number in devices.items()),
        f"{clock * 1000:+.1f}",
        "yes" if all(rank["sees_the_run"] for rank in here) else "no",
    )


def _speed(speed: Mapping[str, Any]) -> str:
    bandwidth = speed["bus_bytes_per_second"]
    return NOT_APPLICABLE if bandwidth is None else f"{bandwidth / 1e6:,.0f}"
