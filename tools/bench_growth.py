"""What grows with versions and ranks beside the state itself: planning, files, manifests, scans, on one host.

Segments are small here: what is measured is the work that one costs, not its bytes. In a run every rank writes its own,
so rank 0's part is publishing, and reading manifests when a directory is scanned. What a resume would read of a 70B
model is computed from its index alone.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from math import prod
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from lrps.config.models import Config
from lrps.costs.planned.plan_document import plan_document
from lrps.engine.state_files.agreement import ranks_in_files
from lrps.engine.state_files.writing import write_segment
from lrps.plan.plan import make_plan
from lrps.store.checkpoints import (
    MANIFEST,
    Checkpoint,
    begin,
    complete_checkpoints,
    pin,
    publish,
    verify_checkpoint,
)
from lrps.store.fragments.index import FragmentIndex, read_index
from lrps.store.fragments.layouts import ElementRange, Layout, Listed, Shares
from lrps.store.fragments.ranges import StoredRange, StoredState, find_values
from lrps.store.layout import PathLayout
from lrps.store.segments import FileSegment, merged_entries

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


def checkpoint_growth(ranks: int, shared: int, segment_bytes: int, checkpoints: int, root: Path) -> dict[str, Any]:
    """Seconds of what is done with a checkpoint that so many ranks have written, and with a directory of some of them.

    shared: ranks that share a file.
    """
    layout = PathLayout(root / f"of-{ranks}")
    temporary = begin(layout.checkpoints, 1)
    segments, sealing = timed(lambda: _write_segments(temporary, ranks, shared, segment_bytes))
    files = merged_entries(segments)
    checkpoint, publishing = timed(lambda: publish(temporary, 1, files, {"step": 1}))
    _, verifying = timed(lambda: verify_checkpoint(checkpoint))
    _, pinning = timed(lambda: pin(checkpoint, layout.branch_points))
    for step in range(2, checkpoints + 1):
        _copy(checkpoint, layout, step, files)
    found, scanning = timed(lambda: complete_checkpoints(layout.checkpoints))
    assert len(found) == checkpoints
    return {
        "ranks": ranks,
        "files": len(files),
        "write_all_seconds": sealing,
        "publish_seconds": publishing,
        "verify_seconds": verifying,
        "pin_seconds": pinning,
        "manifest_bytes": (checkpoint.directory / MANIFEST).stat().st_size,
        "checkpoints": checkpoints,
        "scan_seconds": scanning,
    }


def _write_segments(directory: Path, ranks: int, shared: int, size: int) -> list[FileSegment]:
    """Write, hash and make durable what every rank would write of each file."""
    index = FragmentIndex(
        {"all": [ranks, size // 4]},
        {"fp32": StoredState("elementwise", "F32")},
        {"fp32": Shares(ranks, (ranks * (size // 4),), (0,))},
        ranks_in_files([str(rank // shared) for rank in range(ranks)], "host"),
        {},
    )
    values = torch.rand(size // 4)
    return [write_segment(directory, index, rank, lambda *_: values) for rank in range(ranks)]


def _copy(checkpoint: Checkpoint, layout: PathLayout, step: int, files: dict[str, dict[str, Any]]) -> None:
    """Another checkpoint of the same files, as links."""
    temporary = begin(layout.checkpoints, step)
    for name in files:
        os.link(checkpoint.directory / name, temporary / name)
    publish(temporary, step, files, {"step": step})


def resume_growth(ranks: int, shared: int) -> list[dict[str, Any]]:
    """What a resume of a 70B llama reads, by the index alone: files and ranges of the rank with most, seconds to know.

    The state was saved by so many ranks of ZeRO 3 or 1, and is loaded by as many or by half of them.
    """
    shapes = _llama(80, 8192, 1024, 28672, 32000)
    sizes = [prod(shape) for shape in shapes.values()]
    found = []
    for saved, loaded, fewer in (("3", "3", 1), ("3", "3", 2), ("1", "1", 1), ("1", "3", 1), ("3", "1", 1)):
        layouts = [_division(stage, of, sizes) for stage, of in ((saved, ranks), (loaded, ranks // fewer))]
        states = dict.fromkeys(("fp32", "exp_avg", "exp_avg_sq"), StoredState("elementwise", "F32"))
        files = ranks_in_files([str(rank // shared) for rank in range(ranks)], "host")
        text = FragmentIndex(shapes, states, dict.fromkeys(states, layouts[0]), files, {"adam_step": 1.0}).text()
        index, parsing = timed(lambda text=text: read_index(text))
        own = layouts[1].pieces(ranks // fewer // 2)
        ranges, planning = timed(lambda index=index, own=own: _ranges(index, own))
        found.append(
            {
                "ranks": ranks,
                "saved": f"ZeRO {saved}",
                "loaded": f"ZeRO {loaded} on {ranks // fewer}",
                "index_bytes": len(text),
                "read_index_seconds": parsing,
                "plan_seconds": planning,
                "files_of_a_rank": len({each.file for each in ranges}),
                "ranges_of_a_rank": len(ranges),
            }
        )
    return found


def _llama(layers: int, hidden: int, grouped: int, inner: int, vocabulary: int) -> dict[str, list[int]]:
    shapes = {"model.embed_tokens.weight": [vocabulary, hidden]}
    for layer in range(layers):
        name = f"model.layers.{layer}"
        projections = {"q": [hidden, hidden], "k": [grouped, hidden], "v": [grouped, hidden], "o": [hidden, hidden]}
        shapes |= {f"{name}.self_attn.{each}_proj.weight": shape for each, shape in projections.items()}
        matrices = {"gate": [inner, hidden], "up": [inner, hidden], "down": [hidden, inner]}
        shapes |= {f"{name}.mlp.{each}_proj.weight": shape for each, shape in matrices.items()}
        shapes |= {f"{name}.{each}_layernorm.weight": [hidden] for each in ("input", "post_attention")}
    return shapes | {"model.norm.weight": [hidden], "lm_head.weight": [vocabulary, hidden]}


def _division(stage: str, ranks: int, sizes: list[int]) -> Layout:
    """Divide parameters as ZeRO 3 does, or as ZeRO 1: one flat tensor of all, cut into equal parts."""
    if stage == "3":
        return Shares(ranks, tuple(sizes), tuple(range(len(sizes))))
    part = -(-sum(sizes) // ranks)
    each: list[list[ElementRange]] = [[] for _ in range(ranks)]
    begin = 0
    for number, size in enumerate(sizes):
        for rank in range(begin // part, (begin + size - 1) // part + 1):
            first, last = max(begin, rank * part), min(begin + size, (rank + 1) * part)
            each[rank].append(ElementRange(number, first - begin, last - begin))
        begin += size
    return Listed(tuple(map(tuple, each)))


def _ranges(index: FragmentIndex, own: Sequence[ElementRange]) -> list[StoredRange]:
    return [
        found
        for state in index.states
        for number, start, stop in own
        for found in find_values(index, Path(), state, index.names[number], start, stop)
    ]


def report(*tables: list[dict[str, Any]]) -> None:
    console = Console(width=160)
    for rows in tables:
        table = Table(*(name.replace("_", " ") for name in rows[0]))
        for row in rows:
            table.add_row(*(f"{each:.3f}" if isinstance(each, float) else f"{each:,}" if isinstance(each, int) else each
                            for each in row.values()))  # fmt: skip
        console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--versions", nargs="+", type=int, default=[4, 16, 64, 256], help="of a plan")
    parser.add_argument("--ranks", nargs="+", type=int, default=[8, 64, 256, 1024, 4096], help="of a checkpoint")
    parser.add_argument("--ranks-per-file", type=int, default=8)
    parser.add_argument("--segment-bytes", type=int, default=65536)
    parser.add_argument("--checkpoints", type=int, default=16, help="in the directory that is scanned")
    parser.add_argument("--directory", help="where it is tried, by default the temporary directory")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    given = parser.parse_args()
    plans = [plan_growth(versions) for versions in given.versions]
    with tempfile.TemporaryDirectory(prefix="bench-growth-", dir=given.directory) as root:
        shared, size = given.ranks_per_file, given.segment_bytes
        grown = [checkpoint_growth(ranks, shared, size, given.checkpoints, Path(root)) for ranks in given.ranks]
    resumes = [found for ranks in given.ranks if ranks > 1 for found in resume_growth(ranks, shared)]
    report(plans, grown, resumes)
    if given.out:
        given.out.write_text(json.dumps({"plans": plans, "checkpoints": grown, "resumes": resumes}, indent=1) + "\n")


if __name__ == "__main__":
    main()
