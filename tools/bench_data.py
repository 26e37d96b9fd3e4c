"""How fast rows are read, and in how much memory.

Our reader beside a numpy memmap, plain webdataset and litdata (where installed) on the same tokens, in one run. Every
reader gives shuffled batches of (batch, length) arrays of the stored dtype. Repeats are interleaved and the best one
counts, because the machine is shared; figures are rows a second of the process's own CPU time, all threads, and their
ratios to a memmap that is read at random: by one gather a batch (the fastest that numpy can), and row by row (as most
loaders do). The first pass opens everything and, with us, checks every block against the manifest; a later pass only
reads. `--cold` drops the files from the page cache before each first pass and counts wall time instead.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import multiprocessing
import os
import platform
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import numpy as np
import psutil
from rich.console import Console
from rich.progress import track
from rich.table import Table

from lrps.data.build.writer import TokenWriter
from lrps.data.files import LocalFiles
from lrps.data.manifest import (
    FORMAT,
    Blocks,
    Manifest,
    Shard,
    TokenizerIdentity,
    load_manifest,
    manifest_path,
    save_manifest,
)
from lrps.data.stream import PathData, TokenSource
from lrps.data.verify import verify_manifest
from lrps.paths.graph import Segment, SourceRange

EXAMPLE = "example: python tools/bench_data.py --rows 100000 --repeats 5 --out data/bench.json"
GATHER, ROW_BY_ROW = "memmap, a gather a batch", "memmap, row by row"
VERSIONS = {"v1": 0.7, "v2": 0.3}
IDENTITY = TokenizerIdentity("random", "0" * 64, 2**16, 0)


@dataclass(frozen=True)
class Bench:
    """The data set: the same rows as shards of two versions, one flat file, and litdata's chunks."""

    root: Path
    rows: int
    length: int
    batch: int

    @property
    def flat(self) -> Path:
        return self.root / "flat.bin"

    def manifest(self, name: str) -> Manifest:
        return load_manifest(manifest_path(self.root, name, "train"))

    def source(self, name: str, order: str) -> TokenSource:
        files = LocalFiles(self.root / name)
        return TokenSource(self.manifest(name), files, sequence_length=self.length, seed=1, order=order)


def build(bench: Bench) -> None:
    """Write random tokens: documents of 1,000, in blocks and shards of the usual sizes."""
    rng = np.random.default_rng(0)
    with open(bench.flat, "wb") as flat:
        for name, share in VERSIONS.items():
            with TokenWriter(bench.root, name, "train", IDENTITY) as writer:
                for _ in track(range(round(bench.rows * share * bench.length / 2**20)), f"writing {name}"):
                    tokens = rng.integers(0, 2**16, 2**20, np.uint16)
                    flat.write(tokens)
                    for document in np.split(tokens, range(1000, len(tokens), 1000)):
                        writer.add_document(document, len(document))
                writer.close({"made_by": "tools/bench_data.py"})


Epoch = Callable[[], Iterator[np.ndarray]]


def ours(bench: Bench, order: str, names: list[str], rank: int = 0, world: int = 1) -> Epoch:
    """All whole batches of these versions, evenly mixed."""
    sources = {name: bench.source(name, order) for name in names}
    rows = [sources[name].rows // bench.batch * bench.batch for name in names]
    parts = tuple(SourceRange(name, 0, count) for name, count in zip(names, rows, strict=True))
    stage = PathData([Segment(sum(rows) // bench.batch, parts)], sources, bench.batch)
    return lambda: (stage.batch(step, rank, world) for step in range(stage.steps))


def memmap(bench: Bench, gather: bool) -> Epoch:
    """The limit: rows of one flat file at random, without any check, mixture, resume or growth."""
    rows = np.memmap(bench.flat, np.uint16, "r").reshape(-1, bench.length)
    order = np.random.default_rng(1).permutation(len(rows))
    picks = [order[at : at + bench.batch] for at in range(0, len(rows) - bench.batch, bench.batch)]
    if gather:
        return lambda: (rows[pick] for pick in picks)
    return lambda: (np.stack([rows[row] for row in pick]) for pick in picks)


def plain_webdataset(bench: Bench) -> Epoch:
    """What webdataset gives on our shards: blocks one after the other, cut into rows, a shuffle buffer of 8,192."""
    import webdataset

    urls = [str(bench.root / name / shard.name) for name in VERSIONS for shard in bench.manifest(name).shards]

    def rows() -> Iterator[np.ndarray]:
        for sample in webdataset.WebDataset(urls, shardshuffle=len(urls), seed=1).decode():
            tokens = sample["tokens.npy"]
            yield from tokens[: len(tokens) // bench.length * bench.length].reshape(-1, bench.length)

    return lambda: batched(webdataset.filters.shuffle(8192, initial=8192)(rows()), bench.batch)


def litdata(bench: Bench) -> Epoch:
    import litdata
    import torch
    from litdata.streaming.cache import Cache

    folder = bench.root / "litdata"
    if not folder.exists():
        cache = Cache(str(folder), chunk_bytes="64MB", item_loader=litdata.TokensLoader(block_size=bench.length))
        for index, row in enumerate(np.memmap(bench.flat, np.uint16, "r").reshape(-1, bench.length)):
            cache[index] = torch.from_numpy(np.array(row))
        cache.done()
        cache.merge()
    loader = litdata.TokensLoader(block_size=bench.length)
    dataset = litdata.StreamingDataset(str(folder), item_loader=loader, shuffle=True)
    # A generator: every `iter` of the dataset itself begins anew.
    return lambda: batched((row for row in dataset), bench.batch)


def batched(rows: Iterator[np.ndarray], size: int) -> Iterator[np.ndarray]:
    while len(batch := list(islice(rows, size))) == size:
        yield np.stack(batch)


def measure(open_reader: Callable[[], Epoch], clock: Callable[[], float]) -> tuple[float, float]:
    """Rows a second in the first pass, opening included, and in the one after it."""
    began = clock()
    epoch = open_reader()
    first = sum(len(batch) for batch in epoch()) / (clock() - began)
    began = clock()
    return first, sum(len(batch) for batch in epoch()) / (clock() - began)


def two_processes(bench: Bench) -> tuple[float, float]:
    """Rows a CPU-second of a rank, the mean of two that share every batch."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        both = pool.starmap(_one_rank, [(bench, rank) for rank in range(2)])
    return tuple(np.mean(both, axis=0).tolist())


def _one_rank(bench: Bench, rank: int) -> tuple[float, float]:
    return measure(lambda: ours(bench, "full", list(VERSIONS), rank, 2), time.process_time)


def memory(root: Path, blocks: int) -> dict[str, float]:
    """Private megabytes of a process that reads a version of so many blocks: 64 a shard, all shards one sparse file."""
    _sparse_version(root, blocks)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_memory_of_reading, (root,))


def _sparse_version(root: Path, blocks: int) -> None:
    item, tokens, per_shard = 2, 2**20, 64
    table = Blocks("wide", "train")
    crc32 = zlib.crc32(bytes(tokens * item))
    size = per_shard * (tokens * item + 1024) + 1024
    (root / "wide").mkdir()
    os.truncate(os.open(root / "wide" / "all", os.O_CREAT | os.O_RDWR), size)
    shards = []
    for number in range(blocks // per_shard):
        name = f"wide-train-{number:06d}.tar"
        os.link(root / "wide" / "all", root / "wide" / name)
        for index in range(per_shard):
            table.append(1024 + index * (tokens * item + 1024), tokens, crc32)
        members = range(number * per_shard, (number + 1) * per_shard)
        shards.append(Shard(name, name, size, f"{number:064x}", tokens * per_shard, members))
    total = tokens * per_shard * len(shards)
    facts = (FORMAT, "wide", "train", "uint16", total, 0, 0, IDENTITY, {})
    save_manifest(Manifest(*facts, shards=tuple(shards), blocks=table), manifest_path(root, "wide", "train"))


def _memory_of_reading(root: Path) -> dict[str, float]:
    def private() -> float:
        return round(psutil.Process().memory_full_info().uss / 1e6, 1)

    found = {"python, numpy and lrps.data": private()}
    began = time.perf_counter()
    manifest = load_manifest(manifest_path(root, "wide", "train"))
    seconds = time.perf_counter() - began
    found["with the manifest"] = private()
    source = TokenSource(manifest, LocalFiles(root / "wide"), sequence_length=2048, seed=1)
    stage = PathData([Segment(2000, (SourceRange("wide", 0, 2000 * 32),))], {"wide": source}, 32)
    found["with an open source"] = private()
    for step in range(20):
        stage.batch(step)
    return found | {"after 20 batches": private(), "seconds to load the manifest": round(seconds, 2)}


def drop_from_cache(root: Path) -> None:
    os.sync()
    for file in root.rglob("*"):
        if file.is_file():
            with open(file, "rb") as opened:
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def readers(bench: Bench) -> dict[str, Callable[[], Epoch]]:
    """Name -> something that opens the data."""
    found: dict[str, Callable[[], Epoch]] = {
        GATHER: lambda: memmap(bench, gather=True),
        ROW_BY_ROW: lambda: memmap(bench, gather=False),
        "lrps, full": lambda: ours(bench, "full", ["v1"]),
        "lrps, window": lambda: ours(bench, "window", ["v1"]),
        "lrps, full, two mixed": lambda: ours(bench, "full", list(VERSIONS)),
        "lrps, window, two mixed": lambda: ours(bench, "window", list(VERSIONS)),
        "webdataset, shuffle 8192": lambda: plain_webdataset(bench),
    }
    if importlib.util.find_spec("litdata"):
        found["litdata"] = lambda: litdata(bench)
    return found


def run(bench: Bench, repeats: int, cold: bool) -> dict[str, tuple[float, float]]:
    """Reader -> rows a second in the first pass and later: the best of `repeats` interleaved measurements."""
    clock = time.perf_counter if cold else time.process_time
    best: dict[str, tuple[float, float]] = {}
    rounds = [name for _ in range(repeats) for name in readers(bench)]
    for name in track(rounds, "cold" if cold else "warm"):
        if cold:
            drop_from_cache(bench.root)
        found = measure(readers(bench)[name], clock)
        best[name] = tuple(map(max, zip(best.get(name, found), found, strict=True)))
    if not cold:
        both = [two_processes(bench) for _ in range(repeats)]
        best["lrps, full, two mixed, 2 ranks"] = tuple(map(max, zip(*both, strict=True)))
    return best


def verify_speed(bench: Bench) -> dict[str, float]:
    """MB a second of `lrps data verify`, and of sha256 alone on the same bytes in one thread."""
    paths = [manifest_path(bench.root, name, "train") for name in VERSIONS]
    began = time.perf_counter()
    sizes = sum(verify_manifest(path).bytes for path in paths)
    verified = time.perf_counter() - began
    began = time.perf_counter()
    for name in VERSIONS:
        for shard in bench.manifest(name).shards:
            with open(bench.root / name / shard.name, "rb") as file:
                hashlib.file_digest(file, "sha256")
    alone = time.perf_counter() - began
    return {"verify": sizes / verified / 1e6, "sha256, one thread": sizes / alone / 1e6}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000, help="rows of the data set (default 100000: 410 MB)")
    parser.add_argument("--length", type=int, default=2048, help="tokens in a row (default 2048)")
    parser.add_argument("--batch", type=int, default=32, help="rows in a batch (default 32)")
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each reader; the best counts")
    parser.add_argument("--cold", action="store_true", help="also with an empty page cache, in wall time")
    parser.add_argument("--blocks", type=int, default=1_000_000, help="blocks of the manifest whose memory is measured")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="bench-data-"))
    try:
        bench = Bench(root, arguments.rows, arguments.length, arguments.batch)
        build(bench)
        results = {"warm": run(bench, arguments.repeats, cold=False)}
        if arguments.cold:
            results["cold"] = run(bench, arguments.repeats, cold=True)
        verify = verify_speed(bench)
        report(results, verify, memory(root, arguments.blocks), arguments)
    finally:
        shutil.rmtree(root)


def report(
    results: dict[str, dict[str, tuple[float, float]]],
    verify: dict[str, float],
    private: dict[str, float],
    arguments: argparse.Namespace,
) -> None:
    """Print the tables, and write everything to a file if asked."""
    console = Console(width=120)
    for name, best in results.items():
        console.print(_table(f"{name}: rows of {arguments.length} tokens, batch {arguments.batch}", best, name))
    console.print("  ".join(f"{name}: {speed:,.0f} MB/s" for name, speed in verify.items()))
    console.print(f"private MB, manifest of {arguments.blocks:,} blocks: {private}")
    if arguments.out:
        packages = {name: version(name) for name in ("numpy", "webdataset")}
        facts = {"python": platform.python_version(), "cores": os.cpu_count(), **packages}
        settings = {key: value for key, value in vars(arguments).items() if key != "out"}
        figures = {"rows_per_second": results, "verify_mb_per_second": verify, "private_mb": private}
        arguments.out.write_text(json.dumps({"settings": settings, "machine": facts, **figures}, indent=1) + "\n")


def _table(title: str, best: dict[str, tuple[float, float]], clock: str) -> Table:
    table = Table(title=title)
    table.add_column("reader")
    unit = "rows/s" if clock == "cold" else "rows/CPU-s"
    for column in (f"first pass, {unit}", f"later, {unit}", "first : gather", "later : gather", "later : row by row"):
        table.add_column(column, justify="right")
    for reader, (first, later) in best.items():
        ratios = (first / best[GATHER][1], later / best[GATHER][1], later / best[ROW_BY_ROW][1])
        table.add_row(reader, f"{first:,.0f}", f"{later:,.0f}", *(f"{ratio:.2f}" for ratio in ratios))
    return table


if __name__ == "__main__":
    main()
