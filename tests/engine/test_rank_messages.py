"""What ranks send each other is JSON: values of every size come back typed, and a pickle is not loaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

WORKER = """
import json, pickle, sys
from datetime import timedelta
from pathlib import Path
import torch.distributed as dist
from lrps.base.errors import LrpsError
from lrps.engine import rank_messages
from lrps.engine.ranks import ask_rank_zero, gather
from lrps.store.segments import FileSegment

rank, store = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2, timeout=timedelta(seconds=60))
sent = {"n": rank, "text": "x" * 100_000 * rank, "name": "\\udcff", "of": [None, True, 0.1]}
segment = FileSegment("a", rank, 2**40, "sha")
said = {
    "plain": gather(sent) == [sent | {"n": n, "text": "x" * 100_000 * n} for n in (0, 1)],
    "typed": gather(segment, FileSegment) == [FileSegment("a", n, 2**40, "sha") for n in (0, 1)],
    "answer": str(ask_rank_zero(lambda: Path("/run"), Path)),
}
def outcome(work):
    try:
        return str(work())
    except (LrpsError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
said["untyped"] = outcome(lambda: gather((1, 2)))
said["other type"] = outcome(lambda: gather(["a", 1][rank], str))
class Runs:
    def __reduce__(self):
        return (open, (store + ".ran", "w"))
if rank == 1:  # A rank that sends what torch would unpickle.
    rank_messages._bytes = lambda _value: pickle.dumps(Runs())
said["pickle"] = outcome(lambda: gather(1))
print(json.dumps(said))
"""


def test_two_ranks_understand_each_other_and_load_no_pickle(tmp_path: Path) -> None:
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(rank), str(tmp_path / "store")],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    both = [json.loads(rank.communicate()[0]) for rank in ranks]
    assert both[0] == both[1]
    said = both[0]
    assert (said["plain"], said["typed"], said["answer"]) == (True, True, "/run")
    assert said["untyped"] == "TypeError: (1, 2) is sent to other ranks without its type"
    assert said["other type"].startswith("TrainingError: rank 1 has sent 1 is no str; install the same version")
    assert said["pickle"].startswith("JsonError: what rank 1 has sent: not JSON")
    assert not (tmp_path / "store.ran").exists()
