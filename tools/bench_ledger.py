"""What reading a ledger costs beside `json.loads` of the same lines; the time to write and check them, and the memory.

    python tools/bench_ledger.py --records 1000000

Written through the real writer into a temporary directory; each way of reading takes turns with the others.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.progress import track

from lrps.ledger.check import check_run
from lrps.ledger.reader import read_ledger
from lrps.ledger.records import FORMAT, Counters, attempt_files
from lrps.ledger.totals import total
from lrps.ledger.writer import LedgerWriter


def write(ledger_dir: Path, records: int) -> None:
    """One attempt of a large run: counters of the size that months on hundreds of devices give them."""
    writer, counters = LedgerWriter(ledger_dir), Counters(allocated_seconds=1e5, starting_seconds=1e5)
    facts = {"format": FORMAT, "path_start": 0, "device": "GPU", "processes": 512, "parent": None}
    writer.append("start", 0, counters, **facts)
    for step in track(range(10, 10 * records - 10, 10), "writing", transient=True):
        counters.steps = step
        counters.tokens = step * 4_194_304
        counters.flops = counters.tokens * 42_000_000_000
        counters.training_seconds = step * 512 * 3.1
        counters.allocated_seconds = 1e5 + step * 512 * 3.2
        writer.append("heartbeat", step, counters, loss=2.345678901)
    writer.append("stop", 10 * records - 10, counters, outcome="complete")
    writer.close()


def parse_only(ledger_dir: Path) -> None:
    """What any reader of JSON lines must do."""
    for file in attempt_files(ledger_dir):
        with open(file, "rb") as lines:
            for line in lines:
                json.loads(line)


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--records", type=int, default=1_000_000)
    options.add_argument("--repeats", type=int, default=3)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        run = Path(directory)
        ledger = run / "main" / "ledger"
        began = time.perf_counter()
        write(ledger, chosen.records)
        print(f"writing {chosen.records:,} records: {time.perf_counter() - began:.1f} s, {size_mb(ledger):.0f} MB")
        ways: dict[str, Callable[[], object]] = {
            "json.loads only": lambda: parse_only(ledger),
            "every record": lambda: sum(1 for _ in read_ledger(ledger)),
            "totals": lambda: total(read_ledger(ledger, heartbeats=False)),
            "lrps ledger verify": lambda: check_run(run),
        }
        before, best = peak_mb(), dict.fromkeys(ways, float("inf"))
        for _ in range(chosen.repeats):
            for name, way in ways.items():
                began = time.process_time()  # Others use this machine, too.
                way()
                best[name] = min(best[name], time.process_time() - began)
        for name, seconds in best.items():
            print(f"{name:<20} {seconds:6.2f} CPU-seconds  {seconds / best['json.loads only']:5.2f} of json.loads")
        print(f"peak memory: {peak_mb():.0f} MB, {peak_mb() - before:.1f} MB of it for reading")


def size_mb(ledger_dir: Path) -> float:
    return sum(file.stat().st_size for file in attempt_files(ledger_dir)) / 1e6


if __name__ == "__main__":
    main()
