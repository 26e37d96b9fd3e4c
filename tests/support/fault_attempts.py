"""Attempts at a small plan by ranks that are forked from a process which has imported everything."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Mapping
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import yaml

from lrps.config.loader import load_config
from support.faults_worker import Plant, run_rank

LIMIT = 900
"""Seconds after which a process counts as stuck, on however busy a machine."""


def config_below(directory: Path, tiny_config: Path, runs: Path | None = None, **more: Any) -> Path:
    """Write a config that saves often, of a main path, two branches and another paradigm.

    runs: folder of its run, `directory`/runs by default. more: other values of top-level keys.
    """
    changes = {
        "runs": str(runs or directory / "runs"),
        "paradigms": {"path-switching": {"alpha": 0.6}, "cpt": {}},
        "checkpoint": {"every_steps": 4, "keep_last": 2},
        **more,
    }
    directory.mkdir(exist_ok=True)
    file = directory / "config.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(tiny_config.read_text()), **changes}, sort_keys=False))
    return file


class Attempt:
    """One process group on its way through a plan. plants: what happens in some of its ranks.

    wild: lineage step -> factor of the training loss on rank 0 in every attempt; if it is not None, the guard judges
    from the second step of a segment on.
    """

    def __init__(
        self,
        server: ForkServerContext,
        file: Path,
        *settings: str,
        ranks: int = 2,
        plants: Mapping[int, Plant] | None = None,
        wild: Mapping[int, float] | None = None,
    ) -> None:
        self.run_dir, self.log, self.began = load_config(file).run_dir, file.parent / "log", time.time()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        where = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        self.ranks = [
            server.Process(
                target=run_rank,
                args=(
                    file,
                    settings,
                    {**where, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                    self.log,
                    (plants or {}).get(rank),
                    wild if rank == 0 or wild is None else {},
                ),
            )
            for rank in range(ranks)
        ]
        for rank in self.ranks:
            rank.start()

    def steps(self) -> int:
        """Steps that are logged, of all paths and attempts."""
        return sum(file.read_bytes().count(b"\n") for file in self.run_dir.glob("*/metrics.jsonl"))

    def is_saving(self) -> bool:
        """True while a checkpoint of this attempt is being written."""
        with contextlib.suppress(FileNotFoundError):  # published between two looks
            return any(d.stat().st_mtime > self.began for d in self.run_dir.glob("*/checkpoints/.tmp-*"))
        return False

    def wait_for(self, more: int, in_a_save: bool = False) -> bool:
        """Until `more` steps are logged, and a save is under way if `in_a_save`; False if the run ended before."""
        goal = self.steps() + more
        while all(rank.is_alive() for rank in self.ranks):
            if self.steps() >= goal and (self.is_saving() or not in_a_save):
                return True
            time.sleep(0.003)
        return False

    def end(self) -> bool:
        """Wait for the end of all ranks; True if they did all that there was to do."""
        for rank in self.ranks:
            rank.join(LIMIT)
        assert not any(rank.is_alive() for rank in self.ranks), "no rank waits for the others forever"
        return not any(self.codes())

    def codes(self) -> list[int | None]:
        """Exit codes of the ranks."""
        return [rank.exitcode for rank in self.ranks]

    def told(self) -> str:
        return self.log.read_text()
