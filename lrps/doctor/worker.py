"""One rank of `lrps doctor --nodes`: reports where it runs, and measures all-reduces with the others.

The launcher of the config starts it as it starts training (`lrps doctor-worker`, a hidden verb). Ranks and the waiting
doctor exchange files in a directory of the run directory, which also checks that all hosts share the run directory.
"""

from __future__ import annotations

import json
import os
import platform
import secrets
import socket
import time
from dataclasses import asdict, dataclass
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.distributed as dist

from lrps.base.files import atomic_write_text
from lrps.base.foreign_json import parse_json
from lrps.config.models import Config
from lrps.doctor.all_reduce import measure
from lrps.engine.deepspeed_engine import process_group
from lrps.engine.ranks import ask_rank_zero, gather

EXCHANGE_DIRECTORY = ".doctor"
"""Name of the directory, in the run directory, that the waiting doctor creates and removes."""
RESULT = "result.json"
GROUP_SECONDS = 120
_PACKAGES = ("lrps", "torch", "deepspeed", "transformers")
_CLOCK_ROUNDS = 9


@dataclass(frozen=True)
class RankReport:
    """Report of a rank about itself."""

    rank: int
    local_rank: int
    host: str
    device: str
    device_id: str
    """UUID of its GPU; `cpu` for a rank without one."""
    versions: dict[str, str]
    clock_seconds: float
    """Seconds by which its clock is ahead of rank 0's, measured at barriers."""
    sees_the_run: bool
    """Whether this rank can read what rank 0 has written, and rank 0 what this rank has written."""


def run_worker(config: Config) -> None:
    """Join the other ranks, measure, and write the result on rank 0. Collective."""
    directory = config.run_dir / EXCHANGE_DIRECTORY
    with process_group(timedelta(seconds=GROUP_SECONDS)):
        device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
        sees_the_run, clock = _sees_the_run(directory), _clock_seconds()
        ranks = gather(_rank_report(device, clock, sees_the_run), RankReport)
        measured = measure(device)
        if dist.get_rank() == 0:
            result = {"ranks": [asdict(each) for each in ranks], "all_reduce": asdict(measured)}
            atomic_write_text(directory / RESULT, json.dumps(result))
        gather(None)  # No rank exits before the result is written.


def read_result(text: str) -> tuple[tuple[RankReport, ...], dict[str, Any]]:
    """Return the ranks in order, and the measurement of all-reduces as JSON values, from the text of a result."""
    values = parse_json(text, RESULT)
    return tuple(RankReport(**each) for each in values["ranks"]), values["all_reduce"]


def _rank_report(device: torch.device, clock: float, sees_the_run: bool) -> RankReport:
    name, identity = "cpu", "cpu"
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        name, identity = properties.name, str(properties.uuid)
    versions = {"python": platform.python_version(), **{package: version(package) for package in _PACKAGES}}
    if torch.version.cuda:
        versions["cuda"] = torch.version.cuda
    local = int(os.environ.get("LOCAL_RANK", "0"))
    return RankReport(dist.get_rank(), local, socket.gethostname(), name, identity, versions, clock, sees_the_run)


def _sees_the_run(directory: Path) -> bool:
    """Return whether this rank and rank 0 read each other's files: a random word, and the same as an answer.

    Collective.
    """
    rank = dist.get_rank()
    word = ask_rank_zero(lambda: secrets.token_hex(16))
    try:
        if rank == 0:
            atomic_write_text(directory / "word", word)
        dist.barrier()
        seen = (directory / "word").read_text() == word
        atomic_write_text(directory / f"answer-{rank}", word)
    except OSError:
        seen = False
        if rank == 0:
            dist.barrier()
    dist.barrier()
    others = range(dist.get_world_size())
    answered = ask_rank_zero(lambda: [_content(directory / f"answer-{other}") == word for other in others])
    return seen and answered[rank]


def _content(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None


def _clock_seconds() -> float:
    """Return the seconds by which this rank's clock is ahead of rank 0's, up to the time of a barrier. Collective."""
    offsets = []
    for _ in range(_CLOCK_ROUNDS):
        dist.barrier()
        times = gather(time.time())
        offsets.append(times[dist.get_rank()] - times[0])
    return median(offsets)
