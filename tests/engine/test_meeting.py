"""The wait for ranks that are missing."""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from pathlib import Path

import pytest

from lrps.base.errors import StoppedError, TrainingError
from lrps.config.launching import MEETING_FILE
from lrps.engine import meeting
from support.preloaded import start_python

RANK = """
import torch, torch.distributed as dist
from datetime import timedelta
from lrps.engine.meeting import join_group
join_group("gloo", timedelta(minutes=5))
total = torch.tensor([dist.get_rank() + 1])
dist.all_reduce(total)
print(int(total))
"""


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(params=["port", "file"])
def place(request: pytest.FixtureRequest, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Set the place where four ranks meet, of which this process is rank 0."""
    for name, value in {"RANK": "0", "WORLD_SIZE": "4", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}.items():
        monkeypatch.setenv(name, value)
    if request.param == "port":
        return f"127.0.0.1:{port}"
    monkeypatch.setenv(MEETING_FILE, str(tmp_path / "ranks"))
    return str(tmp_path / "ranks")


def test_who_is_missing_is_said_until_a_signal_comes(
    place: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(meeting, "SAY_SECONDS", 0.0)
    with pytest.raises(StoppedError, match=f"stopped while waiting for 3 of 4 processes at {place}"):
        meeting.join_group("gloo", timedelta(minutes=5), lambda: len(caplog.messages) > 1)
    assert caplog.messages[0] == f"waiting for 3 of 4 processes (ranks 1, 2, 3) at {place}"


def test_the_wait_has_an_end(place: str) -> None:
    with pytest.raises(TrainingError, match=f"waiting for 3 of 4 processes at {place} for launch.collective_timeout"):
        meeting.join_group("gloo", timedelta(seconds=0.5))


@pytest.mark.parametrize("place", ["port"], indirect=True)
def test_rank_0_is_waited_for_like_any_other(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "2")
    with pytest.raises(StoppedError, match=f"rank 2 is waiting for rank 0 at {place}"):
        meeting.join_group("gloo", timedelta(minutes=5), lambda: True)


@pytest.mark.parametrize("place", ["port"], indirect=True)
def test_a_port_in_use_is_named(place: str, port: int) -> None:
    with socket.socket() as other:
        other.bind(("0.0.0.0", port))
        other.listen()
        with pytest.raises(TrainingError, match=f"rank 0 cannot listen at {place} "):
            meeting.join_group("gloo", timedelta(minutes=5))


@pytest.mark.slow
def test_ranks_meet_in_a_file(tmp_path: Path) -> None:
    environment = {**os.environ, "WORLD_SIZE": "2", MEETING_FILE: str(tmp_path / "ranks")}
    sums = [tmp_path / f"sum-{rank}" for rank in "01"]
    processes = [
        start_python("-c", RANK, stdout=file, stderr=tmp_path / "errors", env={**environment, "RANK": rank})
        for rank, file in zip("01", sums, strict=True)
    ]
    for process in processes:
        process.join()
    assert [file.read_text() for file in sums] == ["3\n", "3\n"]
