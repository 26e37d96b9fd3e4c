"""What a start and a resume cost: seconds, memory, opened files and bytes, beside DeepSpeed's own load.

torchrun --nproc-per-node 2 tools/bench_start.py [--sizes 50M 300M] [--stage 1] [--precision bf16] [--repeats 5]
    [--keep DIR]

A real engine is built as a job does it, trains a step, and saves. Then three ways to load take turns: `shared`, as a
resume loads, each rank hashing the segment that it reads; `rank 0 first`, as before that: rank 0 reads and hashes
everything, and then all ranks load; and DeepSpeed's load of what DeepSpeed has saved, which hashes nothing. Files are
in the page cache. Seconds are those of the slowest process, CPU seconds those of the busiest, memory is that of the
process that grew most. Of several turns the least counts, because other work on the machine only adds. Opens are those
of files of the checkpoint, bytes everything that is read, both of all processes together. DeepSpeed opens files outside
of Python, which are not counted.

With --keep the checkpoint stays in DIR, and what other numbers of processes or stages have kept there is loaded, too.
"""

from __future__ import annotations

import argparse
import gc
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass
from operator import methodcaller
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_checkpoint import LENGTH, VOCABULARY, make_config

from lrps.config.values import parse_quantity
from lrps.engine.checkpointing import load_checkpoint, save_checkpoint
from lrps.engine.deepspeed_engine import Engine, process_group
from lrps.engine.flat_pieces import check_piece_names
from lrps.engine.model import build_model
from lrps.engine.ranks import ask_rank_zero, gather, rank, world_size
from lrps.engine.state_files.reading import SavedState
from lrps.store.checkpoints import Checkpoint, find
from lrps.store.conventions import NEWEST
from lrps.store.fragments.opening import IndexMessage, index_of
from lrps.store.layout import PathLayout
from lrps.store.newest import newest_intact

BUILD, INITIALIZE, NAMES = "build the model", "initialize", "check names"
SHARED, RANK_0_FIRST, DEEPSPEED = "load, shared", "load, rank 0 first", "load, DeepSpeed"
LOADS = (SHARED, RANK_0_FIRST, DEEPSPEED)
_EVERY_SECONDS = 0.02


@dataclass(frozen=True)
class Use:
    """What an action took."""

    seconds: float
    """Seconds of the slowest process."""
    cpu_seconds: float
    """CPU seconds of the busiest process: what it would take if each had a core of its own."""
    gigabytes: float
    """Peak of the anonymous memory above what there was before, of the process that grew most."""
    opens: int
    """Number of times that a file of a checkpoint was opened, in all processes."""
    read: int
    """Bytes that all processes have read."""


class Uses:
    """Name of an action -> what it took, each time."""

    def __init__(self) -> None:
        self.by_name: dict[str, list[Use]] = {}

    @contextmanager
    def measuring(self, name: str) -> Iterator[None]:
        """Measure the block on all ranks together."""
        gc.collect()
        gather(None)
        before, cpu, began = _anonymous_gigabytes(), time.process_time(), time.perf_counter()
        opened, read = len(OPENED), _read_bytes()
        with _watching() as peak:
            yield
        read = _read_bytes() - read
        used = (time.perf_counter() - began, time.process_time() - cpu, max(peak) - before)
        seconds, cpus, gigabytes, opens, reads = zip(*gather([*used, len(OPENED) - opened, read]), strict=True)
        use = Use(max(seconds), max(cpus), max(gigabytes), sum(opens), sum(reads))
        self.by_name.setdefault(name, []).append(use)

    def least(self, name: str) -> Use:
        """Return the least seconds, opens and bytes of an action, and its largest growth of memory."""
        seconds, cpus, gigabytes, opens, read = zip(*map(astuple, self.by_name[name]), strict=True)
        return Use(min(seconds), min(cpus), max(gigabytes), min(opens), min(read))


OPENED: list[str] = []
"""Files of checkpoints that this process has opened."""


def note_opens() -> None:
    """Let OPENED collect all files of checkpoints that are opened from now on."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and re.search(r"/step-[0-9]+/[^/]+$", str(arguments[0])):
            OPENED.append(str(arguments[0]))

    sys.addaudithook(hook)


def _read_bytes() -> int:
    return int(Path("/proc/self/io").read_text().split()[1])


@contextmanager
def _watching() -> Iterator[list[float]]:
    """Give a list that collects the anonymous memory of this process, in GB, until the end of the block."""
    seen, ended = [_anonymous_gigabytes()], threading.Event()

    def watch() -> None:
        while not ended.wait(_EVERY_SECONDS):
            seen.append(_anonymous_gigabytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        ended.set()
        watcher.join()
        seen.append(_anonymous_gigabytes())


def _anonymous_gigabytes() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1e6


def measure(parameters: int, arguments: argparse.Namespace) -> tuple[int, int, Uses]:
    """Return (parameters, bytes of a checkpoint, what everything took) for one size."""
    uses, config = Uses(), make_config(parameters, arguments.stage, arguments.precision)
    root = Path(ask_rank_zero(lambda: tempfile.mkdtemp(prefix="bench-start-", dir=arguments.directory)))
    kept = arguments.keep and arguments.keep / f"{parameters}"
    with uses.measuring(BUILD):
        model = build_model(config.model, 0)
    exact = sum(parameter.numel() for parameter in model.parameters())
    with uses.measuring(INITIALIZE):
        engine = Engine(config, model, conventions=NEWEST)
    del model
    with closing(engine):
        try:
            with uses.measuring(NAMES):
                check_piece_names(engine._engine)
            engine.train_step(np.zeros((1, LENGTH), dtype=np.int64) + VOCABULARY // 2, lr=1e-4, seed=0, step=0)
            engine.sync_metrics()
            place = kept / f"{world_size()} ranks, ZeRO {arguments.stage}" if kept else root
            saved = save_checkpoint(engine, PathLayout(place), 1, {})
            engine._engine.save_checkpoint(str(root / "deepspeed"))
            ways = _ways(engine, saved, root) | _of_others(engine, kept, place)
            for _ in range(arguments.repeats):
                for name, load in ways.items():
                    with uses.measuring(name):
                        load()
            return exact, saved.bytes, uses
        finally:
            ask_rank_zero(lambda: shutil.rmtree(root, ignore_errors=True))


def _ways(engine: Engine, saved: Checkpoint, root: Path) -> dict[str, Callable[[], object]]:
    def rank_0_first() -> None:
        newest = ask_rank_zero(lambda: newest_intact(saved.directory.parent)[0], Checkpoint | None)
        assert newest is not None
        index = ask_rank_zero(lambda: IndexMessage.of(index_of(newest)), IndexMessage).index()
        engine.read_fragments(SavedState(newest.directory, index))

    # DeepSpeed's files are pickles. These are our own, written a moment ago.
    deepspeed = methodcaller("load_checkpoint", str(root / "deepspeed"))
    ways = (lambda: load_checkpoint(engine, saved), rank_0_first, lambda: deepspeed(engine._engine))
    return dict(zip(LOADS, ways, strict=True))


def _of_others(engine: Engine, kept: Path | None, own: Path) -> dict[str, Callable[[], object]]:
    """Return loads of what other numbers of processes or stages have kept."""

    def loading(place: Path) -> Callable[[], object]:
        checkpoint = find(PathLayout(place), 1)
        return lambda: load_checkpoint(engine, checkpoint)

    others = sorted(place for place in kept.iterdir() if place != own) if kept else []
    return {f"load, of {place.name}": loading(place) for place in others}


def report(exact: int, size: int, uses: Uses, arguments: argparse.Namespace) -> None:
    """Print what one size took."""
    print(
        f"\n{exact / 1e6:.1f}M parameters, a checkpoint of {size / 1e6:,.0f} MB, ranks {world_size()}, "
        f"ZeRO {arguments.stage}, {arguments.precision}"
    )
    deepspeed = uses.least(DEEPSPEED)
    for name in uses.by_name:
        use, beside = uses.least(name), ""
        if name.startswith("load"):
            ratios = use.seconds / deepspeed.seconds, use.cpu_seconds / deepspeed.cpu_seconds
            beside = f"; {use.opens} opens, {use.read / size:.3f} x the checkpoint read"
            beside += f"; {ratios[0]:.2f} x DeepSpeed's seconds, {ratios[1]:.2f} x its CPU seconds"
        print(f"  {name:28}{use.seconds:8.3f} s, CPU {use.cpu_seconds:8.3f} s, {use.gigabytes:6.3f} GB{beside}")
    start = sum(uses.least(name).cpu_seconds for name in (BUILD, INITIALIZE))
    print(f"  checking the names takes {uses.least(NAMES).cpu_seconds / start:.1%} of the CPU seconds of the start")


def main() -> None:
    """Measure every size, and print it on rank 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["50M", "300M"], help="parameters of the models")
    parser.add_argument("--stage", type=int, default=1, help="ZeRO stage (default 1)")
    parser.add_argument("--precision", default="bf16", help="bf16 (default) or fp32")
    parser.add_argument("--repeats", type=int, default=5, help="loads of each kind")
    parser.add_argument("--directory", help="where checkpoints are written, by default the temporary directory")
    parser.add_argument("--keep", type=Path, help="directory in which checkpoints stay and are loaded by other runs")
    arguments = parser.parse_args()
    note_opens()
    with process_group(retain_memory=False):
        torch.set_num_threads(1)
        build_model(make_config(1, 1, "fp32").model, 0)  # Imports what every build needs.
        for parameters in arguments.sizes:
            found = measure(int(parse_quantity(parameters)), arguments)
            if rank() == 0:
                report(*found, arguments)


if __name__ == "__main__":
    main()
