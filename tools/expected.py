"""Say whether a demo came out as the README's table expects, and where it did not, why that may be.

python tools/expected.py runs/demo --corpus data/demo/text               # after `make demo`
python tools/expected.py runs/demo --corpus data/demo/text --table       # the table to paste into the README
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lrps.demo.expected import ExpectationError, expected_outcome, measured_run, table, verdict


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run directory with a report")
    parser.add_argument("--corpus", type=Path, required=True, metavar="DIR", help="folder that tools/corpus.py wrote")
    parser.add_argument(
        "--page", type=Path, default=Path(__file__).parents[1] / "README.md", help="default: the README"
    )
    parser.add_argument("--table", action="store_true", help="print the run's own table instead")
    options = parser.parse_args(arguments)
    try:
        comparison, measured = measured_run(options.run, options.corpus)
        if options.table:
            print(table(comparison, measured))
            return 0
        met, said = verdict(expected_outcome(options.page.read_text(encoding="utf-8"), measured.corpus), measured)
    except ExpectationError as error:
        print(f"expected: {error}", file=sys.stderr)
        return 2
    print("\n".join(said))
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
