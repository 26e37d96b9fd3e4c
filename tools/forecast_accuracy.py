"""Measure how well lrps.forecast forecasts branches that are known: the tables of docs/forecast.md.

python tools/forecast_accuracy.py versions_124M.json

The file is JSON, one entry for each main path:

    name -> {"peak": rate, "warmup": steps (0 without it), "main": [[step, loss], ...],
             "branches": [{"fork": step, "steps": D, "shape": "linear", "end": loss}, ...]}

Every linear branch whose share D / (fork + D) is at most .6 and that forks at step 4,000 or later, at a peak rate of
2e-4 or more, is forecast from the main path up to its fork and from the k newest branches that end earlier and fork no
later: branches of the same share, or of any.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lrps.forecast import Branch, Forecast, ForecastRefused, forecast_branch

SAME_SHARE = 0.005
"""Largest difference of two shares that count as the same."""


def share(branch: Mapping[str, Any]) -> float:
    return float(branch["steps"] / (branch["fork"] + branch["steps"]))


def asked(entry: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the branches of a main path that are forecast."""
    if entry["peak"] >= 2e-4:
        for branch in entry["branches"]:
            if branch["shape"] == "linear" and branch["fork"] >= 4000 and share(branch) <= 0.6 + 1e-9:
                yield branch


def history(entry: Mapping[str, Any], branch: Mapping[str, Any], same: bool) -> list[Mapping[str, Any]]:
    """Return the branches that were finished when a branch began, oldest first."""
    found = [
        each
        for each in entry["branches"]
        if each["shape"] == "linear"
        and each["fork"] <= branch["fork"]
        and each["fork"] + each["steps"] < branch["fork"] + branch["steps"]
        and (not same or abs(share(each) - share(branch)) < SAME_SHARE)
    ]
    return sorted(found, key=lambda each: (each["fork"] + each["steps"], each["fork"]))


def forecasts(data: Mapping[str, Any], k: int, same: bool) -> Iterator[tuple[Forecast | None, float]]:
    """Yield (forecast, measured loss) of every branch with k earlier ones; None where the forecast is refused."""
    for entry in data.values():
        for branch in asked(entry):
            earlier = history(entry, branch, same)
            if len(earlier) < k:
                continue
            known = [(step, loss) for step, loss in entry["main"] if step <= branch["fork"]]
            past = [Branch(each["fork"], each["steps"], each["shape"], each["end"]) for each in earlier[-k:]]
            try:
                yield (
                    forecast_branch(
                        known,
                        past,
                        fork=branch["fork"],
                        steps=branch["steps"],
                        shape=branch["shape"],
                        peak=entry["peak"],
                        warmup=entry.get("warmup", 0),
                    ),
                    branch["end"],
                )
            except ForecastRefused:
                yield None, branch["end"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("file", type=Path, help="JSON file of main paths and branches, as described above")
    data = json.loads(parser.parse_args().file.read_text(encoding="utf-8"))
    print(
        f"{'branches known':<24}{'forecast':>9}{'refused':>9}{'MAE':>8}{'q90':>8}{'in band':>9}{'repeat last drop':>18}"
    )
    for same in (True, False):
        for k in (1, 2, 3):
            found = list(forecasts(data, k, same))
            made = [(each, outcome) for each, outcome in found if each is not None]
            if not made:
                continue
            errors = np.array([abs(each.loss - outcome) for each, outcome in made])
            inside = np.mean([abs(each.loss - outcome) <= each.half_width for each, outcome in made])
            simple = np.mean([abs((each.repeat_last_drop or 0.0) - outcome) for each, outcome in made])
            name = f"{k}, {'same' if same else 'any'} share"
            print(
                f"{name:<24}{len(made):>9}{len(found) - len(made):>9}{errors.mean():>8.4f}"
                f"{np.quantile(errors, 0.9):>8.4f}{inside:>9.2f}{simple:>18.4f}"
            )


if __name__ == "__main__":
    main()
