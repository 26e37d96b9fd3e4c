"""Exit code that says whether paths are complete, for the batch script of a job whose processes failed.

As with every launcher the run directory counts, not the exit code: processes may abort after all is saved. Usage:
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
    """Return 0 if all the paths are complete, 1 if one is not, and 2 if that is unknown."""
    parser = argparse.ArgumentParser()
    parser.add_argument("config", type=Path)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("paths", nargs="+")
    given = parser.parse_args(words)
    try:
        plan = load_plan(given.config, given.set)
        states = [path_status(plan, plan.graph.by_name[name]).state for name in given.paths]
    except (LrpsError, KeyError) as error:
        print(f"cannot find out whether the paths are complete: {error}", file=sys.stderr)
        return 2
    return 0 if all(state == "complete" for state in states) else 1


if __name__ == "__main__":
    sys.exit(main())
