"""What stages have cost, by stage, also where a line was torn."""

from __future__ import annotations

from pathlib import Path

from lrps.rehearsal.costs import Costs
from lrps.rehearsal.stage_file import StageFile


def test_costs_add_up_by_stage(tmp_path: Path) -> None:
    costs = Costs(tmp_path / "new" / "costs.jsonl")
    assert costs.booking(()) == {"tokens": 0}
    files = [
        StageFile(tmp_path, stage, {"p": p}) for stage, p in (("synthesis", 1), ("synthesis", 2), ("selection", 1))
    ]
    for file, seconds, tokens in zip([*files, files[1]], (1.5, 2.0, 4.0, 0.25), (10, 20, 0, 5), strict=True):
        costs.add(file, seconds, tokens)
    with open(costs.path, "a", encoding="utf-8") as lines:
        lines.write('{"stage": "synth')
    assert costs.booking({files[1].key, files[2].key}) == {
        "tokens": 35,
        "abandoned_seconds": 1.5,
        "synthesis_seconds": 2.25,
        "selection_seconds": 4.0,
    }
