"""Two ranks of which one fails or hangs: what the other one says, and when."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.preloaded import start_python

WORKER = """
import pathlib, sys, time
from datetime import timedelta
import torch.distributed as dist
from lrps.engine import ranks
from lrps.engine.ranks import failing_together, gather, translate_lost_rank_errors
from lrps.base.errors import DataError, TrainingError
ranks._REASON_SECONDS = 10
rank, store, case, told = sys.argv[1:]
# The ranks begin together, so that the short limit is for the collectives only.
pathlib.Path(f"{store}.{rank}").touch()
while not all(pathlib.Path(f"{store}.{one}").exists() for one in "01"):
    time.sleep(0.01)
try:
    with translate_lost_rank_errors():
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=int(rank), world_size=2,
                                timeout=timedelta(seconds=20))
        gather(0)
        try:
            with failing_together():
                raise {"0": DataError, "1": TrainingError}[rank]("each rank fails in its own way")
        except DataError:  # and takes the way of the first one
            gather(rank)
        if rank == "1":
            while case == "stuck" and "TrainingError" not in open(told).read():
                time.sleep(0.1)
            raise DataError("a reason of its own")
        gather(1)
except (DataError, TrainingError) as error:
    dist.destroy_process_group()  # the other one hears of it before this one has said why
    print(f"{type(error).__name__}: {error}", flush=True)
"""


@pytest.mark.parametrize(("case", "first"), [("failing", "DataError"), ("stuck", "TrainingError")])
def test_who_is_left_says_so_after_the_reason(case: str, first: str, tmp_path: Path) -> None:
    told = tmp_path / "told"
    words = [("-c", WORKER, str(rank), tmp_path / "store", case, told) for rank in (0, 1)]
    ranks = [start_python(*each, stdout=told, stderr=tmp_path / "errors") for each in words]
    for rank in ranks:
        rank.join()
    assert [rank.exitcode for rank in ranks] == [0, 0], (tmp_path / "errors").read_text()
    lines = told.read_text().splitlines()
    assert [line.split(":")[0] for line in lines] == [first, *({"DataError", "TrainingError"} - {first})]
    assert any("rank 0 lost another process" in line for line in lines)


def test_another_error_stays_what_it_is() -> None:
    from lrps.engine.ranks import translate_lost_rank_errors

    with pytest.raises(RuntimeError, match="connection closed by hand"), translate_lost_rank_errors():
        raise RuntimeError("connection closed by hand")  # without a process group
