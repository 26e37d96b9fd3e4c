"""Rehearsal data in a branch and in a CPT chain that are really trained, on two ranks."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

from lrps.config.loader import load_config
from lrps.data.stream import PathData
from lrps.ledger.reader import read_ledger
from lrps.plan.plan import Plan, make_plan
from lrps.store.checkpoints import find
from lrps.train.job import open_sources

pytestmark = pytest.mark.slow

ROWS = 12
"""Of the set: the CPT chain comes to its second epoch in version 2."""


@pytest.fixture(scope="module")
def plan(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A trained plan of two versions that rehearse what would be version 3."""
    file = tmp_path_factory.mktemp("rehearsed") / "config.yaml"
    values = yaml.safe_load(tiny_config.read_text())
    values["data"]["rehearsal"] = [{"name": "v3", "since": "v1", "tokens": ROWS * 16}]
    mix = {"new": 0.8, "replay": 0.1, "rehearsal": 0.1}
    values |= {
        "runs": str(file.parent / "runs"),
        "paradigms": {
            "path-switching": {"release_first": False, "mix_per_version": {"v2": mix}},
            "cpt": {"mix": mix},
        },
    }
    file.write_text(yaml.safe_dump(values, sort_keys=False))
    command = [sys.executable, "-m", "lrps.cli", "run", str(file)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return make_plan(load_config(file))


def rows_read(plan: Plan, name: str) -> list[tuple[str, int, int]]:
    """(source, epoch, row) of every row that a path was trained on."""
    path = plan.graph.by_name[name]
    stage = PathData(path.segments, open_sources(plan, path), plan.config.batch.sequences)
    return [row for step in range(stage.steps) for row in stage.rows_of(step)]


def test_rows_come_from_the_rehearsal_set(plan: Plan) -> None:
    read = {name: rows_read(plan, name) for name in ("branch-v2", "cpt-v1", "cpt-v2")}
    assert {name: Counter(source for source, _, _ in rows) for name, rows in read.items()} == {
        "branch-v2": {"v2": 38, "v1": 5, "v3": 5},
        "cpt-v1": {"v1": 72, "v3": 8},
        "cpt-v2": {"v2": 64, "v1": 8, "v3": 8},
    }
    chain = [(epoch, row) for name in ("cpt-v1", "cpt-v2") for source, epoch, row in read[name] if source == "v3"]
    assert [epoch for epoch, _ in chain] == [0] * 12 + [1] * 4
    assert len(set(chain)) == 16
    assert sorted(row for epoch, row in chain if epoch == 0) == list(range(ROWS)), "each once before any comes again"
    branch = [(epoch, row) for source, epoch, row in read["branch-v2"] if source == "v3"]
    assert branch == chain[:5], "another lineage begins anew"


@pytest.mark.parametrize(("name", "stop", "position"), [("branch-v2", 40, 5), ("cpt-v1", 20, 8), ("cpt-v2", 40, 16)])
def test_what_was_trained_names_the_set(plan: Plan, name: str, stop: int, position: int) -> None:
    layout, sha256 = plan.layout.path(name), plan.manifests["v3"].sha256
    assert find(layout, stop).identity["positions"]["v3"] == position
    (start,) = (record for record in read_ledger(layout.ledger) if record.kind == "start")
    assert start.facts["manifests"]["v3"] == sha256
    identity = json.loads(layout.path_json.read_text())
    assert identity["sources"]["v3"] == {"manifest_sha256": sha256, "rows": ROWS}


def test_the_main_path_reads_new_rows_only(plan: Plan) -> None:
    assert {source for source, _, _ in rows_read(plan, "main")} == {"v1", "v2"}


def test_nothing_is_evaluated_on_the_set(plan: Plan) -> None:
    for path in plan.graph.paths:
        records = [r for r in read_ledger(plan.layout.path(path.name).ledger) if r.kind == "evaluation"]
        assert records
        assert {record.facts["heldout"] for record in records} == {"v1", "v2"}
