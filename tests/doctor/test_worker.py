"""The report of a rank alone; two ranks are in test_rollcall.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch.distributed as dist

from lrps.config.models import Config
from lrps.doctor.worker import EXCHANGE_DIRECTORY, RESULT, read_result, run_worker


def test_one_rank_alone(make_config: Callable[..., Config], tmp_path: Path) -> None:
    config = make_config(runs=str(tmp_path))
    (config.run_dir / EXCHANGE_DIRECTORY).mkdir(parents=True)
    run_worker(config)
    assert not dist.is_initialized()
    (rank,), all_reduce = read_result((config.run_dir / EXCHANGE_DIRECTORY / RESULT).read_text())
    assert (rank.rank, rank.local_rank, rank.clock_seconds, rank.sees_the_run) == (0, 0, 0.0, True)
    assert {"python", "lrps", "torch", "deepspeed", "transformers"} <= set(rank.versions)
    assert all_reduce["right"]
    assert json.dumps(all_reduce)
