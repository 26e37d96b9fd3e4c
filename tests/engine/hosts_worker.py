"""One rank of two that see the same checkpoint in folders of their own, as two hosts of a shared directory may.

Arguments: rank, file of the rendezvous, a folder for every case. Prints what `verify_together` raises in each case. The
manifest of the first folder is that of all.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import torch.distributed as dist

from lrps.base.errors import CheckpointError
from lrps.engine.checkpointing import verify_together
from lrps.engine.ranks import ask_rank_zero
from lrps.store.checkpoints import Checkpoint, open_checkpoint


def main(rank: int, rendezvous: str, *folders: str) -> None:
    dist.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2, timeout=timedelta(seconds=60)
    )
    checkpoint = ask_rank_zero(lambda: open_checkpoint(Path(folders[0])), Checkpoint)
    for folder in folders:
        try:
            verify_together(replace(checkpoint, directory=Path(folder)))
        except CheckpointError as error:
            print(f"{type(error).__name__}: {error}", flush=True)
    dist.destroy_process_group()


main(int(sys.argv[1]), *sys.argv[2:])
