"""What a state has read of a source, against a count of single rows."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lrps.audit.evidence import read_run
from lrps.audit.readers import source_read
from lrps.data.mixture import Mixture
from lrps.paths.graph import TrainingPath
from lrps.plan.plan import Plan
from support.synthetic_run import BATCH, LENGTH


def rows_of_steps(path: TrainingPath) -> Iterator[tuple[int, str, int]]:
    """Yield (lineage step after which it was read, source, position) of every row of a path, one by one."""
    row = path.start * BATCH
    for segment in path.segments:
        parts, index = Mixture([part.rows for part in segment.parts]).assign(np.arange(segment.rows))
        for part, position in zip(parts, index, strict=True):
            yield row // BATCH + 1, segment.parts[part].source, segment.parts[part].from_row + int(position)
            row += 1


def lineage_rows(plan: Plan, name: str, step: int, source: str) -> list[tuple[int, int]]:
    """Return (lineage step, position) of every row of a source that the state of a path contains."""
    lineage = plan.graph.lineage(plan.graph.by_name[name])
    stops = [*(path.start for path in lineage[1:]), step]
    return [
        (after, position)
        for path, stop in zip(lineage, stops, strict=True)
        for after, read, position in rows_of_steps(path)
        if read == source and after <= stop
    ]


def test_every_saved_state_of_a_run_contains_what_its_steps_read(clean: Plan) -> None:
    paths, _ = read_run(clean.layout.run_dir)
    run = {evidence.path.name: evidence for evidence in paths}
    seen = 0
    for name, evidence in run.items():
        for step in sorted(evidence.chain.saves.keys() - {evidence.path.start}):
            for source in ("v1", "v2", "v3", "r1"):
                rows, found = lineage_rows(clean, name, step, source), source_read(run, name, step, source)
                if not rows:
                    assert found is None
                    continue
                assert found is not None
                seen += 1
                assert (found.sequences, found.tokens) == (len(rows), len(rows) * LENGTH)
                assert (found.first_step, found.last_step) == (min(rows)[0], max(rows)[0])
                epochs = Counter(position // clean.rows[source] for _, position in rows)
                assert {each.epoch: each.sequences for each in found.epochs} == epochs
                assert {each.of for each in found.epochs} == {clean.rows[source]}
    assert seen > 50


def test_without_its_parent_a_path_still_shows_its_own_reads(clean: Plan, run: Path) -> None:
    shutil.rmtree(run / "main")
    paths, _ = read_run(run)
    by_name = {evidence.path.name: evidence for evidence in paths}
    branch = clean.graph.by_name["branch-v2"]
    found = source_read(by_name, "branch-v2", branch.stop, "v2")
    assert found is not None
    assert found.sequences == sum(source == "v2" for _, source, _ in rows_of_steps(branch))
