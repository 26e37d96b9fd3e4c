"""Checkpoints of a larger model: stall, write and load, from tools/bench_checkpoint.py; for tools/gpu_proof.py."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

from gpu_findings import Findings

TOOL = Path(__file__).with_name("bench_checkpoint.py")
STALL = 0.05
"""Target: the stall of a save beside training as a share of an awaited save."""


def judge(findings: Findings, size: dict[str, Any]) -> None:
    """Write down what the tool measured of one size."""
    seconds = {name: median(values) for name, values in size["seconds"].items()}
    findings.figure("checkpoint bytes", size["bytes"])
    findings.figure("median seconds", {name: round(value, 4) for name, value in seconds.items()})
    share = seconds["stall of a save in flight"] / seconds["awaited save"]
    findings.claim("saves and loads of the size work", True, f"{size['parameters'] / 1e6:.0f}M parameters")
    findings.target(
        "stall of a save beside training", share <= STALL, f"{share:.1%} of an awaited one; aim {STALL:.0%}"
    )


def main() -> None:
    """Measure one size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--found", type=Path, required=True, help="file of findings")
    parser.add_argument("--size", default="350M")
    parser.add_argument("--repeats", default="2")
    arguments = parser.parse_args()
    out = arguments.found.with_name("bench-checkpoint.json")
    words = ["--sizes", arguments.size, "--precision", "bf16", "--repeats", arguments.repeats, "--steps", "4"]
    subprocess.run([sys.executable, str(TOOL), *words, "--out", str(out)], check=True)
    (size,) = json.loads(out.read_text())["sizes"]
    judge(Findings(arguments.found), size)


if __name__ == "__main__":
    main()
