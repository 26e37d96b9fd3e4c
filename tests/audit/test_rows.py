"""Computation of every row: a clean run, another manifest, and orders and mixtures that are wrong."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from lrps.audit.run import audit_run
from lrps.data.manifest import manifest_path, save_manifest
from lrps.data.order import Order
from lrps.plan.plan import Plan
from support.synthetic_run import manifest, plan_of, train


def test_every_row_is_computed(clean: Plan, data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lrps.audit.rows.CHUNK_ROWS", 7)
    seen: list[tuple[int, int]] = []
    audit = audit_run(clean.layout.run_dir, data_root, lambda done, total: seen.append((done, total)))
    assert audit.ok
    longest: dict[tuple[str, int], int] = {}
    for use in (use for lineage in audit.lineages for use in lineage.uses):
        longest[use.source, use.epoch] = max(use.rows, longest.get((use.source, use.epoch), 0))
    assert audit.recomputed_rows == sum(longest.values())
    assert seen[-1][0] == seen[-1][1]


def test_every_row_of_the_parts_of_mixtures_is_computed(tmp_path: Path) -> None:
    paradigms = {"path-switching": {"branch_data": "whole", "mix": {"new": 0.7, "replay": 0.3}}, "ptfs": {}}
    plan = plan_of(tmp_path, [10, 12], paradigms, epochs=Fraction(3, 2), mixed=True)
    for name, values in plan.manifests.items():
        file = manifest_path(tmp_path / "data", name, "train")
        file.parent.mkdir(parents=True)
        save_manifest(values, file)
    train(plan)
    audit = audit_run(plan.layout.run_dir, tmp_path / "data")
    assert audit.ok
    longest: dict[tuple[str, int], int] = {}
    for use in (use for lineage in audit.lineages for use in lineage.uses):
        longest[use.source, use.epoch] = max(use.reached, longest.get((use.source, use.epoch), 0))
    assert audit.recomputed_rows == sum(longest.values())
    assert {source for source, _ in longest} == {"v1.a", "v1.b", "v2.a", "v2.b"}
    file = manifest_path(tmp_path / "data", "v2.b", "train")
    save_manifest(manifest("v2.b", 30), file)
    (difference,) = audit_run(plan.layout.run_dir, tmp_path / "data").differences
    assert (difference.source, difference.file) == ("v2.b", file)


def test_another_manifest_is_reported(clean: Plan, data_root: Path) -> None:
    file = manifest_path(data_root, "v1", "train")
    save_manifest(manifest("v1", 30), file)
    (difference,) = audit_run(clean.layout.run_dir, data_root).differences
    assert (difference.source, difference.file) == ("v1", file)
    assert difference.expected == clean.manifests["v1"].sha256
    file.unlink()
    (difference,) = audit_run(clean.layout.run_dir, data_root).differences
    assert "no such manifest" in difference.what


def test_an_order_that_gives_a_row_twice_is_reported(
    clean: Plan, data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lrps.audit.rows.CHUNK_ROWS", 8)
    monkeypatch.setattr(Order, "__call__", lambda self, positions: np.asarray(positions) % self.rows % 12)
    (difference,) = audit_run(clean.layout.run_dir, data_root).differences
    assert "position 12 gives a row that the source does not have, or that the epoch has given" in difference.what
    monkeypatch.setattr(Order, "__call__", lambda self, positions: np.asarray(positions) + 9)
    (difference,) = audit_run(clean.layout.run_dir, data_root).differences
    assert "position 12 gives" in difference.what, "row 21 of 21"


def test_a_mixture_that_is_out_of_order_is_reported(
    clean: Plan, data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lrps.data.mixture import Mixture

    assign = Mixture.assign
    monkeypatch.setattr(Mixture, "assign", lambda self, t: (assign(self, t)[0], assign(self, t)[1][::-1]))
    (difference,) = audit_run(clean.layout.run_dir, data_root).differences
    assert "the mixture does not read rows" in difference.what
