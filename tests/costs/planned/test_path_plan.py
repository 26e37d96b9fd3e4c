"""Plans of paths: the rows that they read, and that many versions take no quadratic list of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lrps.base.document import to_json
from lrps.costs.planned.path_plan import MOST_RANGES, MixTokens, RowRange, ranges_of
from lrps.costs.planned.plan_document import plan_document
from support.many import many_versions

REPLAY = {"new": 0.7, "replay": 0.3}


@pytest.mark.parametrize(
    "paradigms",
    [
        {},
        {"cpt": {"mix": REPLAY}},
        {"path-switching": {"mix": REPLAY, "main_mix": REPLAY}, "ptfs": {}},
        {
            "path-switching": {"release_first": True, "alpha_of": "steps-so-far"},
            "wsd-s": {"final_lr": 1e-5},
            "ptfs": {"decay": "cosine"},
        },
    ],
)
def test_the_document_says_which_rows_every_path_reads_and_what_they_are(tmp_path: Path, paradigms: Any) -> None:
    plan = many_versions(tmp_path, MOST_RANGES + 6, **paradigms)
    document = plan_document(plan)
    for paradigm in plan.graph.paradigms:
        planned = document.paradigms[paradigm.name]
        for path, shown in zip(paradigm.paths, planned.paths, strict=True):
            parts = [part for segment in path.segments for part in segment.parts]
            expected = [RowRange(part.source, part.from_row, part.to_row) for part in parts]
            assert list(ranges_of(shown, planned.row_ranges)) == expected
            assert (shown.data is None) == (shown.data_slice is not None) == (len(expected) > MOST_RANGES)
            usage = plan.row_usage.of(path, [(part, part.rows) for part in parts]).times(8)
            assert shown.mix_tokens == MixTokens(usage.unique, usage.replayed, usage.rehearsal)


def test_the_ranges_of_a_document_grow_with_its_versions_only(tmp_path: Path) -> None:
    def ranges(versions: int) -> int:
        paradigms = to_json(plan_document(many_versions(tmp_path, versions)))["paradigms"].values()
        return sum(len(p["row_ranges"]) + sum(len(path["data"] or ()) for path in p["paths"]) for p in paradigms)

    assert ranges(200) - ranges(150) == ranges(150) - ranges(100) <= 50 * 4


def test_a_plan_of_few_versions_lists_the_rows_of_every_path_with_it(tmp_path: Path) -> None:
    for paradigm in plan_document(many_versions(tmp_path, MOST_RANGES)).paradigms.values():
        assert paradigm.row_ranges == ()
        assert all(path.data and path.data_slice is None for path in paradigm.paths)
