"""One rank of `lrps doctor --nodes`: says where it runs, and measures all-reduces with the others.

The launcher of the config starts it, as it starts training (`lrps doctor-worker`, a hidden verb). The directory in
which ranks and the waiting doctor meet lies in the run directory: so whether all hosts share that is tried as well.
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
from lrps.config.models import Config
from lrps.doctor.exchange import as_json, exchange
from lrps.engine.deepspeed_engine import process_group
from lrps.engine.ranks import gather

MEETING = ".doctor"
"""Of the run directory; made and removed by the doctor that waits."""
RESULT = "result.json"
GROUP_SECONDS = 120
_PACKAGES = ("lrps", "torch", "deepspeed", "transformers")
_CLOCK_ROUNDS = 9


@dataclass(frozen=True)
class Rank:
    """What a rank says of itself."""

    rank: int
    local_rank: int
    host: str
    device: str
    device_id: str
    """Tells two GPUs of a host apart; `cpu` for all ranks without one."""
    versions: dict[str, str]
    clock_seconds: float
    """How far its clock is ahead of rank 0's, as well as meetings of all ranks can tell."""
    sees_the_run: bool
    """It can read what rank 0 has written, and rank 0 what it has written."""


def run_worker(config: Config) -> None:
    """Join the others, measure, and let rank 0 leave the result in the meeting place."""
    meeting = config.run_dir / MEETING
    with process_group(timedelta(seconds=GROUP_SECONDS)):
        device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
        sees, clock = _sees_the_run(meeting), _clock()
        ranks = gather(_told(device, clock, sees))
        found = exchange(device)
        if dist.get_rank() == 0:
            result = {"ranks": [asdict(each) for each in ranks], "exchange": as_json(found)}
            atomic_write_text(meeting / RESULT, json.dumps(result))
        gather(None)  # ranks end together


def read_result(text: str) -> tuple[tuple[Rank, ...], dict[str, Any]]:
    """(ranks in order, the values of exchange.as_json) of a result's file."""
    values = json.loads(text)
    return tuple(Rank(**each) for each in values["ranks"]), values["exchange"]


def _told(device: torch.device, clock: float, sees: bool) -> Rank:
    name, identity = "cpu", "cpu"
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        name, identity = properties.name, str(properties.uuid)
    versions = {"python": platform.python_version(), **{package: version(package) for package in _PACKAGES}}
    if torch.version.cuda:
        versions["cuda"] = torch.version.cuda
    local = int(os.environ.get("LOCAL_RANK", "0"))
    return Rank(dist.get_rank(), local, socket.gethostname(), name, identity, versions, clock, sees)


def _sees_the_run(meeting: Path) -> bool:
    """Rank 0 writes a word that nobody can guess, and every rank answers with it. Collective."""
    rank = dist.get_rank()
    word: list[Any] = [secrets.token_hex(16)]
    dist.broadcast_object_list(word, src=0)
    try:
        if rank == 0:
            atomic_write_text(meeting / "word", word[0])
        dist.barrier()
        seen = (meeting / "word").read_text() == word[0]
        atomic_write_text(meeting / f"answer-{rank}", word[0])
    except OSError:
        seen = False
        if rank == 0:
            dist.barrier()
    dist.barrier()
    answered = [False] * dist.get_world_size()
    if rank == 0:
        answered = [_content(meeting / f"answer-{other}") == word[0] for other in range(len(answered))]
    told: list[Any] = [answered]
    dist.broadcast_object_list(told, src=0)
    return seen and bool(told[0][rank])


def _content(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None


def _clock() -> float:
    """Seconds that this rank's clock is ahead of rank 0's, right to about the time of a barrier. Collective."""
    offsets = []
    for _ in range(_CLOCK_ROUNDS):
        dist.barrier()
        times = gather(time.time())
        offsets.append(times[dist.get_rank()] - times[0])
    return median(offsets)
