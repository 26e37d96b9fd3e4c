"""Whether paths are complete, as an exit code: what a batch script asks when its processes ended with an error.

The run directory counts, not the exit code, as with every launcher: processes may abort while they end. Start it as
`python -m lrps.launch.slurm.finished CONFIG [--set KEY=VALUE] PATH...`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lrps.base.errors import LrpsError
from lrps.plan.plan import load_plan
from lrps.plan.status import path_status


def main(words: Sequence[str] | None = None) -> int:
    """0 if all the paths are complete, 1 if not, 2 if that cannot be told."""
    parser = argparse.ArgumentParser()
    parser.add_argument("config", type=Path)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("paths", nargs="+")
    given = parser.parse_args(words)
    try:
        plan = load_plan(given.config, given.set)
        states = [path_status(plan, plan.graph.by_name[name]).state for name in given.paths]
    except (LrpsError, KeyError) as error:
        print(f"whether its paths are complete cannot be told: {error}", file=sys.stderr)
        return 2
    return 0 if all(state == "complete" for state in states) else 1


if __name__ == "__main__":
    sys.exit(main())
