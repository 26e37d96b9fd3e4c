"""What reading verbs cost when plans and runs grow: plans of many versions, and a report over many lines of metrics.

Each case is a process of its own, as a user starts it. The figures are CPU seconds (user) and the peak of its memory,
the least of several runs, and the ratio to a process that only imports what the verb needs, which a busy machine
changes less than the seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import yaml
from bench_growth import config
from rich.console import Console
from rich.table import Table

EXAMPLE = "example: python tools/bench_reading.py --versions 10 100 1000 --lines 1000000 --runs 5"
IMPORTS = "import lrps.cli.app, lrps.costs.comparison, lrps.report.plan_text, lrps.report.files"


def measure(command: list[str], runs: int, directory: Path) -> tuple[float, float]:
    """Return the least CPU seconds and the least peak memory in MB of some runs of a command."""
    seconds, peaks = [], []
    for _ in range(runs):
        child = os.fork()
        if child == 0:
            sink = os.open(os.devnull, os.O_WRONLY)
            os.dup2(sink, 1)
            os.chdir(directory)
            os.execv(command[0], command)
        _, status, used = os.wait4(child, 0)
        if status:
            raise SystemExit(f"failed: {' '.join(command)}")
        seconds.append(used.ru_utime)
        peaks.append(used.ru_maxrss / 1024)
    return min(seconds), min(peaks)


def written_plan(versions: int, directory: Path) -> Path:
    """Write the config of a plan of so many versions."""
    file = directory / f"{versions}.yaml"
    values = config(versions).model_dump(mode="json", exclude_defaults=True)
    file.write_text(yaml.safe_dump({**values, "name": f"of-{versions}"}, sort_keys=False))
    return file


def written_metrics(lines: int, directory: Path) -> Path:
    """Write the config of a plan of one version, and that many lines of metrics of its path."""
    file = written_plan(1, directory)
    metrics = directory / "nowhere" / "of-1" / "ptfs-v1" / "metrics.jsonl"
    metrics.parent.mkdir(parents=True)
    with open(metrics, "w") as out:
        for step in range(1, lines + 1):
            values = {"step": step, "tokens": step * 1048576, "loss": 2.0 + 1e3 / (step + 100), "lr": 3e-4}
            out.write(json.dumps({**values, "grad_norm": 0.1 + step % 7 / 9, "tokens_per_second": 123456.7}) + "\n")
    return file


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--versions", nargs="+", type=int, default=[10, 100, 1000], help="of a plan")
    parser.add_argument("--lines", nargs="+", type=int, default=[1000, 1_000_000], help="of metrics, for a report")
    parser.add_argument("--runs", type=int, default=3, help="of each case, of which the least counts")
    given = parser.parse_args()
    table = Table("case", "user seconds", "x imports", "peak MB")
    with tempfile.TemporaryDirectory(prefix="bench-reading-") as name:
        directory, lrps = Path(name), [sys.executable, "-m", "lrps"]
        cases = {"imports": [sys.executable, "-c", IMPORTS]}
        for versions in given.versions:
            file = str(written_plan(versions, directory))
            for verb in (["plan"], ["plan", "--json"], ["status"]):
                cases[f"{' '.join(verb)}, {versions:,} versions"] = [*lrps, *verb, file]
        for lines in given.lines:
            of_lines = directory / f"lines-{lines}"
            of_lines.mkdir()
            cases[f"report, {lines:,} lines"] = [*lrps, "report", str(written_metrics(lines, of_lines))]
        imports = 0.0
        for case, command in cases.items():
            of_case = Path(command[-1]).parent if len(command) > 3 else directory
            seconds, peak = measure(command, given.runs, of_case)
            imports = imports or seconds
            table.add_row(case, f"{seconds:.2f}", f"{seconds / imports:.2f}", f"{peak:.0f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
