"""Makes the pictures of README.md and docs/report.md from a run's report: a screenshot of its page, and its figures.

    python tools/report_picture.py                        # runs/demo/report -> docs/pictures/
    python tools/report_picture.py runs/drift/report --out /tmp/pictures

A stand-alone script that needs Chromium. Must not import lrps.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTH, HEIGHT, SCALE = 1120, 1425, 0.55
"""Of the page's upper part: the headline, the tables of totals and the first figures. A README is narrower."""
LARGEST_BYTES = 150_000
FIGURES = {
    "learning-rate-paths.svg": "learning-rate-path-switching.svg",
    "lineage.svg": "lineage.svg",
    "cumulative-cost.svg": "cumulative-cost.svg",
    "loss-against-cost.svg": "loss-against-steps.svg",
    "heldout-loss.svg": "heldout-loss.svg",
    "older-data.svg": "forgetting-mean.svg",
    "forgetting.svg": "forgetting-cpt.svg",
    "goodput.svg": "goodput.svg",
}
"""Name of the picture -> figure of the demo's report."""


def photograph(page: Path, picture: Path) -> None:
    """Write a screenshot of the upper part of a page, in light colours."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit(f"no browser: install one of {', '.join(BROWSERS)}")
    with tempfile.TemporaryDirectory() as profile:
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"]
        flags += [f"--user-data-dir={profile}", f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={picture}"]
        flags += [f"--force-device-scale-factor={SCALE}"]
        command = [browser, *flags, page.resolve().as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode or not picture.exists():
        sys.exit(f"{browser} made no picture of {page}:\n{done.stderr}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", nargs="?", type=Path, default=Path("runs/demo/report"), help="a report's directory")
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"), help="where the pictures go")
    chosen = parser.parse_args(arguments)
    page = chosen.report / "index.html"
    if not page.exists():
        sys.exit(f"{page} does not exist; `make demo` makes it")
    missing = [figure for figure in FIGURES.values() if not (chosen.report / "figures" / figure).exists()]
    if missing:
        sys.exit(f"{chosen.report}/figures lacks {', '.join(missing)}: the pictures are those of a finished demo")
    chosen.out.mkdir(parents=True, exist_ok=True)
    picture = chosen.out / "report.png"
    photograph(page, picture)
    if (size := picture.stat().st_size) > LARGEST_BYTES:
        sys.exit(f"{picture} has {size:,} bytes, more than {LARGEST_BYTES:,}: a README should load at once")
    for name, figure in FIGURES.items():
        shutil.copyfile(chosen.report / "figures" / figure, chosen.out / name)
    print(f"{picture}: {size:,} bytes; {len(FIGURES)} figures beside it")


if __name__ == "__main__":
    main()
