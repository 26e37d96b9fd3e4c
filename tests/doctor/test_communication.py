"""Communication of processes on this machine."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lrps.config.models import Config
from lrps.doctor import communication
from lrps.doctor.examination import Subject
from lrps.plan.plan import make_plan

MEASURED = {
    "right": True,
    "latency_seconds": 1e-4,
    "speeds": [{"bytes": 64_000_000, "seconds": 0.1, "bus_bytes_per_second": 640e6}],
}


def test_wrong_sums_fail() -> None:
    assert "bus bandwidth 640 MB/s for 64 MB" in communication.all_reduce_finding(MEASURED, "area", "two").what
    assert communication.all_reduce_finding({**MEASURED, "right": False}, "area", "two").state == "fail"


def test_a_port_that_is_taken(make_config: Callable[..., Config]) -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        plan = make_plan(make_config(launch={"master_port": taken.getsockname()[1]}))
        states = {finding.name: finding.state for finding in communication.check_host(Subject(plan))}
        assert states["port"] == "fail"
    states = {finding.name: finding.state for finding in communication.check_host(Subject(plan))}
    assert states["port"] == "ok"


def test_a_host_without_address(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_name: str) -> str:
        raise socket.gaierror

    monkeypatch.setattr(socket, "gethostbyname", unknown)
    (found,) = communication.check_host(Subject())
    assert (found.state, "/etc/hosts" in found.way_out) == ("warn", True)


@pytest.mark.parametrize(
    ("program", "seconds", "what"), [("false", 600, "no message"), ("sleep", 0.5, "did not finish")]
)
def test_processes_that_fail_or_hang_are_reported_and_ended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str, seconds: float, what: str
) -> None:
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\nexec {program} 3600\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    monkeypatch.setattr(communication, "PAIR_SECONDS", seconds)
    (found,) = communication.check_two_processes(Subject())
    assert (found.state, what in found.what) == ("fail", True)
