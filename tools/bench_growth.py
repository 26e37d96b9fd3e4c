"""What grows with versions and ranks beside the state itself: planning, fragment files, manifests, scans, on one host.

Fragments are small files here: what is measured is the work that a file costs, not its bytes. In a run every rank seals
its own file, so rank 0's part is publishing, and reading manifests when a directory is scanned.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lrps.config.models import Config
from lrps.costs.planned.plan_document import plan_document
from lrps.plan.plan import make_plan
from lrps.store.checkpoints import (
    MANIFEST,
    Checkpoint,
    begin,
    complete_checkpoints,
    fsync_and_hash,
    pin,
    publish,
    verify_checkpoint,
)
from lrps.store.layout import PathLayout

EXAMPLE = "example: python tools/bench_growth.py --versions 4 32 128 --ranks 8 128 1024 --out data/bench-growth.json"


def timed(action: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    value = action()
    return value, time.perf_counter() - began


def config(versions: int) -> Config:
    return Config.model_validate(
        {
            "name": "growth",
            "runs": "nowhere",
            "model": {"architecture": {"model_type": "llama", "vocab_size": 32000}, "parameters": "1.2B"},
            "data": {
                "root": "nowhere",
                "sequence_length": 2048,
                "versions": [{"name": f"v{k}", "tokens": "10.5B"} for k in range(1, versions + 1)],
            },
            "batch": {"sequences": 512},
            "schedule": {"peak_lr": 3e-4},
            "paradigms": {"path-switching": {}, "ptfs": {}, "cpt": {}},
        }
    )


def plan_growth(versions: int) -> dict[str, Any]:
    """Seconds to compile a plan of so many versions and to say what it costs."""
    made = config(versions)
    document, seconds = timed(lambda: plan_document(make_plan(made)))
    paths = sum(len(paradigm.paths) for paradigm in document.paradigms.values())
    return {"versions": versions, "paths": paths, "plan_seconds": seconds}


def checkpoint_growth(ranks: int, fragment_bytes: int, checkpoints: int, root: Path) -> dict[str, Any]:
    """Seconds of what is done with a checkpoint of so many files, and with a directory of some of them."""
    layout = PathLayout(root / f"of-{ranks}")
    temporary = begin(layout.checkpoints, 1)
    names = [f"fragments-{rank:05d}-of-{ranks:05d}.safetensors" for rank in range(ranks)]
    for name in names:
        (temporary / name).write_bytes(os.urandom(fragment_bytes))
    files, sealing = timed(lambda: {name: fsync_and_hash(temporary / name) for name in names})
    checkpoint, publishing = timed(lambda: publish(temporary, 1, files, {"step": 1}))
    _, verifying = timed(lambda: verify_checkpoint(checkpoint))
    _, pinning = timed(lambda: pin(checkpoint, layout.branch_points))
    for step in range(2, checkpoints + 1):
        _copy(checkpoint, layout, step, files)
    found, scanning = timed(lambda: complete_checkpoints(layout.checkpoints))
    assert len(found) == checkpoints
    return {
        "ranks": ranks,
        "seal_all_seconds": sealing,
        "publish_seconds": publishing,
        "verify_seconds": verifying,
        "pin_seconds": pinning,
        "manifest_bytes": (checkpoint.directory / MANIFEST).stat().st_size,
        "checkpoints": checkpoints,
        "scan_seconds": scanning,
    }


def _copy(checkpoint: Checkpoint, layout: PathLayout, step: int, files: dict[str, dict[str, Any]]) -> None:
    """Another checkpoint of the same files, as links."""
    temporary = begin(layout.checkpoints, step)
    for name in files:
        os.link(checkpoint.directory / name, temporary / name)
    publish(temporary, step, files, {"step": step})


def report(plans: list[dict[str, Any]], checkpoints: list[dict[str, Any]]) -> None:
    console = Console(width=140)
    for rows in (plans, checkpoints):
        table = Table(*(name.replace("_", " ") for name in rows[0]))
        for row in rows:
            table.add_row(*(f"{value:,}" if isinstance(value, int) else f"{value:.3f}" for value in row.values()))
        console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--versions", nargs="+", type=int, default=[4, 16, 64, 256], help="of a plan")
    parser.add_argument("--ranks", nargs="+", type=int, default=[8, 64, 256, 1024, 4096], help="files of a checkpoint")
    parser.add_argument("--fragment-bytes", type=int, default=65536)
    parser.add_argument("--checkpoints", type=int, default=16, help="in the directory that is scanned")
    parser.add_argument("--directory", help="where it is tried, by default the temporary directory")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    given = parser.parse_args()
    plans = [plan_growth(versions) for versions in given.versions]
    with tempfile.TemporaryDirectory(prefix="bench-growth-", dir=given.directory) as root:
        grown = [checkpoint_growth(ranks, given.fragment_bytes, given.checkpoints, Path(root)) for ranks in given.ranks]
    report(plans, grown)
    if given.out:
        given.out.write_text(json.dumps({"plans": plans, "checkpoints": grown}, indent=1) + "\n")


if __name__ == "__main__":
    main()
