"""What cures forgetting: every paradigm of a config over several seeds, beside training from scratch.

    python tools/python_corpus.py --split drift --versions 4 --bytes-per-version 240kB --out data/forgetting/text
    lrps data build configs/forgetting.yaml
    python tools/forgetting.py                           # seeds 17, 18, 19; results in runs/forgetting
    python tools/forgetting.py --seeds 17 --show         # only what is there

Trains what is missing with `lrps run`, lets models write what rehearsal sets are due with `lrps rehearse`, and reads
the reports. A seed draws the initial weights and the order of the rows; differences are taken seed by seed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrps.charts.axes import number_axis
from lrps.charts.svg import Drawing, element, label, marker

WAITING = 2
"""Exit code of `lrps run` where paths wait for a rehearsal set."""
LEFT, RIGHT, ROW, TOP = 190.0, 620.0, 20.0, 52.0


@dataclass(frozen=True)
class Result:
    """A paradigm over the seeds."""

    name: str
    share_of_ptfs: float
    """Training steps of all versions, of those of PTFS."""
    seen: Mapping[str, Sequence[float]]
    """Version -> its mean loss on the held-out sets of all versions so far, seed by seed, nats a token."""
    last: Mapping[str, Sequence[float]]
    """Held-out set -> the last version's loss on it, likewise."""

    @property
    def final(self) -> Sequence[float]:
        """What the last version is judged by: its mean over all held-out sets, seed by seed."""
        return [*self.seen.values()][-1]

    def gaps(self, reference: Result, version: str | None = None) -> list[float]:
        """How far a version, by default the last one, lies above the reference, as a share of it, seed by seed."""
        version = version or [*self.seen][-1]
        return [mine / other - 1 for mine, other in zip(self.seen[version], reference.seen[version], strict=True)]


def results_of(reports: Sequence[Mapping[str, Any]]) -> list[Result]:
    """From one comparison document a seed, of the paradigms whose versions are all evaluated in all of them."""
    versions = [version["name"] for version in reports[0]["versions"]]
    results = []
    for name, first in reports[0]["paradigms"].items():
        releases = [report["paradigms"][name]["releases"] for report in reports]
        if any(release["seen_loss"] is None for of_seed in releases for release in of_seed):
            continue
        seen = {version: [of_seed[k]["seen_loss"] for of_seed in releases] for k, version in enumerate(versions)}
        last = {version: [of_seed[-1]["heldout"][version]["loss"] for of_seed in releases] for version in versions}
        results.append(Result(name, first["ratio_to_ptfs"], seen, last))
    return results


def markdown(results: Sequence[Result], reference: Result) -> str:
    """A table: cost, mean held-out loss with its standard deviation, paired gaps to the reference, loss by set."""
    *older, newest = reference.seen
    head = [
        *("paradigm", "steps, of PTFS", f"{newest}: mean held-out loss", f"{newest} above {reference.name}"),
        *(f"{version} above" for version in older[1:]),
        *(f"{newest} on {version}" for version in reference.last),
    ]
    lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]
    for result in results:
        gaps = result.gaps(reference)
        cells = [
            result.name,
            f"{result.share_of_ptfs:.0%}",
            f"{statistics.fmean(result.final):.4f} ± {deviation(result.final):.4f}",
            f"{statistics.fmean(gaps):+.2%} ({min(gaps):+.2%} to {max(gaps):+.2%})",
            *(f"{statistics.fmean(result.gaps(reference, version)):+.2%}" for version in older[1:]),
            *(f"{statistics.fmean(losses):.4f}" for losses in result.last.values()),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def deviation(values: Sequence[float]) -> float:
    """Sample standard deviation; 0 of one value."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


def drawing(results: Sequence[Result], reference: Result) -> Drawing:
    """A row a paradigm: a small marker a seed and a line at the mean, how far above the reference."""
    gaps = {result.name: [100 * gap for gap in result.gaps(reference)] for result in results}
    axis = number_axis("%", [0.0, *(gap for row in gaps.values() for gap in row)])

    def at(gap: float) -> float:
        return LEFT + 10 + axis.share(gap) * (RIGHT - LEFT - 20)

    bottom = TOP + ROW * len(results)
    note = "in %; a marker a seed, a stroke at their mean; in brackets the steps of all versions, of PTFS"
    parts = [
        label(4, 16, f"Mean held-out loss of the last version, above {reference.name}", class_="title"),
        label(4, 34, note, class_="quiet"),
    ]
    for value, text in axis.ticks:
        x = at(value)
        parts.append(element("path", d=f"M{x:.1f} {TOP - 4}V{bottom}", class_="grid" if value else "axis"))
        parts.append(label(x, bottom + 16, text, "middle", "quiet"))
    for number, result in enumerate(results):
        y = TOP + ROW * (number + 0.5)
        parts.append(label(LEFT, y + 4, f"{result.name} ({result.share_of_ptfs:.0%})", "end"))
        slot = 0 if "ptfs" in result.name else 2 if result.name.startswith("cpt") else 1
        seeds = "".join(marker(at(gap), y, slot, f"{result.name}: {gap:+.2f} %") for gap in gaps[result.name])
        parts.append(element("g", seeds, class_=f"s{slot}"))
        mean = at(statistics.fmean(gaps[result.name]))
        parts.append(element("path", d=f"M{mean:.1f} {y - 8:.1f}V{y + 8:.1f}", class_="axis"))
    said = "; ".join(f"{name} {statistics.fmean(row):+.2f} %" for name, row in gaps.items())
    return Drawing(
        "Forgetting", f"Gap of the last version's mean held-out loss: {said}.", RIGHT, bottom + 26, "".join(parts)
    )


def lrps(verb: str, config: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """A verb of lrps; what it says goes to the terminal, but for the --json of a report."""
    quiet = subprocess.PIPE if "--json" in more else None
    return subprocess.run([sys.executable, "-m", "lrps.cli", verb, str(config), *more], stdout=quiet, text=True)


def train(config: Path, overrides: Sequence[str]) -> None:
    """Run until nothing is missing, with the rehearsal sets in between in their order."""
    from lrps.config.loader import load_config

    sets = [each.name for each in load_config(config).data.rehearsal]
    while (code := lrps("run", config, *overrides).returncode) == WAITING and sets:
        if lrps("rehearse", config, sets.pop(0), *overrides).returncode:
            sys.exit("no rehearsal data: see the message above; the same command goes on")
    if code:
        sys.exit(f"lrps run ended with {code}: see the message above; the same command goes on")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, nargs="?", default=Path("configs/forgetting.yaml"))
    parser.add_argument("--seeds", default="17,18,19", help="the runs are called after them: forgetting-17, ...")
    parser.add_argument("--reference", default="ptfs-wsd", help="what gaps are measured from (default: %(default)s)")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the runs lie, and the results")
    parser.add_argument("--show", action="store_true", help="train nothing")
    arguments = parser.parse_args()
    reports = []
    for seed in arguments.seeds.split(","):
        name = f"{arguments.config.stem}-{seed}"
        overrides = [f"--set={key}" for key in (f"seed={seed}", f"name={name}", f"runs={arguments.runs}")]
        if not arguments.show:
            train(arguments.config, overrides)
        reports.append(json.loads(lrps("report", arguments.config, "--json", *overrides).stdout))
    results = results_of(reports)
    reference = next((result for result in results if result.name == arguments.reference), None)
    if reference is None:
        sys.exit(f"{arguments.reference} is not trained in every seed; the same command without --show trains it")
    out = arguments.runs / arguments.config.stem
    out.mkdir(parents=True, exist_ok=True)
    table = markdown(results, reference)
    (out / "results.md").write_text(table)
    (out / "results.json").write_text(json.dumps([vars(result) for result in results], indent=1) + "\n")
    (out / "gaps.svg").write_text(drawing(results, reference).standalone())
    print(f"{table}\n{out}")


if __name__ == "__main__":
    main()
