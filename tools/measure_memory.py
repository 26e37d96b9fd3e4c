"""The peak memory of real steps beside the forecast of `lrps plan`, and lrps's trainer beside a bare DeepSpeed loop.

Each case is a real engine, DeepSpeed included, that takes three steps; the peak is that of the last one, of tensors: on
a GPU what torch's allocator says, on a CPU what tools/live_bytes.py counts. On a GPU the sizes are 125M, 350M and 1.2B
in bf16 with rows of 2,048 tokens; a case that does not fit is told, not counted.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import torch
from bench_train_setup import Case as TrainedCase
from bench_train_setup import write_data
from measure_memory_worker import SHAPES, Case
from rich.console import Console
from rich.table import Table

EXAMPLE = """examples:
  python tools/measure_memory.py                         on a CPU: 1 and 2 ranks, some minutes
  python tools/measure_memory.py --ranks 1 --sizes 1M    a minute
  python tools/measure_memory.py --minutes 5             on a GPU: what five minutes allow"""
COMPARED = {"lrps": "lrps's trainer", "deepspeed": "bare DeepSpeed"}
WORKER = Path(__file__).with_name("measure_memory_worker.py")
TARGET, TARGET_OF_TRAINER = 0.10, 1.02


def cases(arguments: argparse.Namespace, on_gpu: bool) -> list[Case]:
    """All of them, the small ones first: what a limit cuts off is the largest."""
    rows = (4, 8) if on_gpu else (1, 8)
    length = 2048 if on_gpu else 128
    found = []
    for ranks, size, zero in itertools.product(arguments.ranks, arguments.sizes, range(4)):
        for precision in ("bf16",) if on_gpu else ("fp32", "bf16"):
            if zero == 0 and precision == "bf16":
                continue
            several = [Case(size, ranks, zero, precision, micro, 1, length) for micro in rows]
            several.append(Case(size, ranks, zero, precision, rows[0], 2, length))
            several.append(Case(size, ranks, zero, precision, rows[1], 1, length, checkpointing=True))
            found += several
    return found


def start(words: Sequence[str], ranks: int, log: IO[str]) -> list[subprocess.Popen[str]]:
    """A group of workers, which write their faults to `log`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    group = {"WORLD_SIZE": ranks, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
    return [
        subprocess.Popen(
            [sys.executable, str(WORKER), *words],
            env=os.environ | {name: str(value) for name, value in (group | {"RANK": rank, "LOCAL_RANK": rank}).items()},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        for rank in range(ranks)
    ]


def answers(workers: Sequence[subprocess.Popen[str]], until: float, log: IO[str]) -> Iterator[list[dict[str, Any]]]:
    """One list a case, of what each rank says; ends early when the time is up. SystemExit if a worker fails."""
    try:
        while time.monotonic() < until:
            lines = [_answer(worker) for worker in workers]
            if not all(lines):
                if any(worker.wait() for worker in workers):
                    log.seek(0)
                    raise SystemExit(f"a worker failed:\n{log.read()[-2000:]}")
                break
            yield [json.loads(line) for line in lines]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
            assert worker.stdout is not None
            worker.stdout.close()


def _answer(worker: subprocess.Popen[str]) -> str:
    assert worker.stdout is not None
    return next((line for line in worker.stdout if line.startswith("{")), "")


def measured(planned: Sequence[Case], minutes: float) -> Iterator[dict[str, Any]]:
    """Cases with their forecast and the peak of the rank that holds most."""
    until = time.monotonic() + minutes * 60
    for _, group in itertools.groupby(planned, key=lambda case: case.ranks):
        todo = list(group)
        with tempfile.TemporaryFile("w+") as log:
            workers = start(["cases", json.dumps([asdict(case) for case in todo])], todo[0].ranks, log)
            for case, told in zip(todo, answers(workers, until, log), strict=False):
                peaks = [each["measured"] for each in told]
                peak = None if None in peaks else max(peaks)
                ratio = None if peak is None else told[0]["forecast"] / peak
                yield {**asdict(case), "measured_bytes": peak, "forecast_bytes": told[0]["forecast"], "ratio": ratio}


def compared(minutes: float) -> Iterator[dict[str, Any]]:
    """lrps's trainer, with and without the logits, and the bare loop: peaks of tensors and of the process."""
    until = time.monotonic() + minutes * 60
    on_gpu = torch.cuda.is_available()
    size, length, rows, precision = ("350M", 2048, 4, "bf16") if on_gpu else ("10M", 128, 4, "fp32")
    for zero in (1, 2, 3):
        case = TrainedCase(size, 1, zero, precision, rows, length, steps=24, engine={"cross_entropy": "full"})
        found: dict[str, Any] = {"zero": zero, "case": case.title}
        for program in COMPARED:
            with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryFile("w+") as log:
                root = Path(directory) / "data"
                write_data(root, case)
                workers = start([program, str(root), json.dumps(case.to_json())], 1, log)
                found[program] = next(answers(workers, until, log), [None])[0]
        if found["lrps"] and found["deepspeed"]:
            yield found | {what: found["lrps"][what] / found["deepspeed"][what] for what in ("tensors", "process")}


def _print_forecasts(console: Console, found: Sequence[dict[str, Any]]) -> None:
    columns = (
        "size",
        "ranks",
        "ZeRO",
        "precision",
        "rows",
        "x",
        "checkpointing",
        "measured MB",
        "forecast MB",
        "ratio",
    )
    table = Table(*columns, box=None, pad_edge=False)
    for each in found:
        peak, ratio = each["measured_bytes"], each["ratio"]
        table.add_row(
            *(str(each[name]) for name in ("size", "ranks", "zero", "precision", "rows", "micro_batches")),
            "yes" if each["checkpointing"] else "no",
            "out of memory" if peak is None else f"{peak / 1e6:,.1f}",
            f"{each['forecast_bytes'] / 1e6:,.1f}",
            "n/a" if ratio is None else f"{ratio:.3f}",
        )
    console.print(table)
    ratios = [each["ratio"] for each in found if each["ratio"] is not None]
    far = sum(abs(ratio - 1) > TARGET for ratio in ratios)
    if ratios:
        console.print(
            f"{len(ratios)} cases: forecast / measured {min(ratios):.3f} .. {max(ratios):.3f}; "
            f"{far} further off than {TARGET:.0%}"
        )


def _print_compared(console: Console, found: Sequence[dict[str, Any]]) -> None:
    for each in found:
        tensors, process = ([each[name][what] / 1e6 for name in COMPARED] for what in ("tensors", "process"))
        console.print(
            f"{each['case']}: tensors {tensors[0]:,.1f} MB, bare {tensors[1]:,.1f} MB, ratio {each['tensors']:.4f} "
            f"(target {TARGET_OF_TRAINER}); process {process[0]:,.0f} MB, bare {process[1]:,.0f} MB"
        )


def main() -> None:
    on_gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sizes = "125M,350M,1.2B" if on_gpu else "1M,4M,gpt2,wide"
    parser.add_argument("--sizes", default=sizes, type=_names, help=f"of {', '.join(SHAPES)} (default {sizes})")
    ranks = "1" if on_gpu else "1,2"
    parser.add_argument("--ranks", default=ranks, type=lambda text: [int(n) for n in text.split(",")])
    parser.add_argument(
        "--minutes", default=4.0 if on_gpu else 15.0, type=float, help="for the cases; the rest is left out"
    )
    parser.add_argument("--no-trainer", action="store_true", help="leave out the comparison of trainers")
    parser.add_argument("--out", type=Path, help="write it all as JSON")
    arguments = parser.parse_args()
    console, planned = Console(width=140, highlight=False), cases(arguments, on_gpu)
    found = list(measured(planned, arguments.minutes))
    _print_forecasts(console, found)
    if left_out := len(planned) - len(found):
        console.print(f"{left_out} of {len(planned)} cases were left out: out of time")
    beside = [] if arguments.no_trainer else list(compared(2.0))
    _print_compared(console, beside)
    if arguments.out is not None:
        machine = {"device": torch.cuda.get_device_name() if on_gpu else "cpu", "python": platform.python_version()}
        document = {**machine, "torch": torch.__version__, "cases": found, "trainers": beside}
        arguments.out.write_text(json.dumps(document, indent=1))


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - SHAPES.keys():
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: no such size; take of {', '.join(SHAPES)}")
    return names


if __name__ == "__main__":
    main()
