"""Findings and nodes as text."""

from __future__ import annotations

import pytest

from lrps.doctor.examination import Check
from lrps.doctor.finding import Finding
from lrps.report.doctor_text import FindingPrinter, print_nodes

BAD = Finding("area", "bad", "fail", "it [is] not", "do that")
RANK = {"rank": 0, "host": "node-0", "device": "H100", "clock_seconds": 0.0, "sees_the_run": True}


def test_findings_come_with_the_way_out_and_a_count(capsys: pytest.CaptureFixture[str]) -> None:
    with FindingPrinter() as printer:
        printer.working(Check("area", "slow", lambda _subject: (), slow=True))
        printer.show(Finding("area", "good", "ok", "it is"))
        printer.show(BAD)
    assert capsys.readouterr().out.splitlines() == [
        "ok    area           good: it is",
        "fail  area           bad: it [is] not",
        "      -> do that",
        "",
        "1 ok, 0 warn, 1 fail",
    ]


def test_json_is_alone_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    with FindingPrinter(quiet=True) as printer:
        printer.show(BAD)
    assert capsys.readouterr().out == ""


def test_nodes_are_a_table_by_host(capsys: pytest.CaptureFixture[str]) -> None:
    ranks = [RANK, {**RANK, "rank": 1, "clock_seconds": -0.25}, {**RANK, "rank": 2, "host": "b", "sees_the_run": False}]
    speeds = [
        {"bytes": 1_000_000, "seconds": 0.002, "bus_bytes_per_second": 5e8},
        {"bytes": 64_000_000, "seconds": 0.2, "bus_bytes_per_second": None},
    ]
    findings = [BAD.__dict__]
    print_nodes({"ranks": ranks, "all_reduce": {"speeds": speeds}, "findings": findings})
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["node-0", "0,", "1", "2", "x", "H100", "-250.0", "yes"] in lines
    assert ["b", "2", "1", "x", "H100", "+0.0", "no"] in lines
    assert ["1", "MB", "2", "500"] in lines
    assert ["64", "MB", "200", "n/a"] in lines
    assert lines[-1] == ["->", "do", "that"]


def test_ranks_that_never_came_have_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    print_nodes({"ranks": [], "all_reduce": None, "findings": [BAD.__dict__]})
    assert capsys.readouterr().out.splitlines() == ["fail  area           bad: it [is] not", "      -> do that"]
